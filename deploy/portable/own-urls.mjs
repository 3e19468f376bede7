/**
 * Keeps `import.meta` true in bundled code: in our own modules it says where the module would lie below the bundle's root, wherever
 * its text has been put. Shaders, models and workers are then found as in the checkout.
 */
import { readFile } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'

/**
 * What stands before every bundled file: bundled CommonJS may require Node's own modules, and each module finds its URL.
 * @param {string} pathToRoot from the bundled file's folder to the bundle's root, ending in a slash
 */
export function bundleBanner (pathToRoot) {
  return `import { createRequire as __createRequire } from 'node:module'
import { fileURLToPath as __fileURLToPath } from 'node:url'
const require = __createRequire(import.meta.url)
const __root = new URL(${JSON.stringify(pathToRoot)}, import.meta.url)
const __urlOf = path => new URL(path, __root).href
const __pathOf = path => __fileURLToPath(new URL(path, __root))
`
}

/**
 * An esbuild plugin.
 * @param {string} root the checkout
 * @param {readonly string[]} folders whose modules are our own
 */
export function ownUrls (root, folders) {
  const prefixes = folders.map(folder => join(root, folder) + sep)
  return {
    name: 'own-urls',
    setup (esbuild) {
      esbuild.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (!prefixes.some(prefix => path.startsWith(prefix)) || path.includes(`${sep}node_modules${sep}`)) return undefined
        const here = relative(root, path).split(sep).join('/').replace(/\.ts$/, '.mjs')
        const text = await readFile(path, 'utf8')
        const contents = text
          .replace(/new URL\((['"`])(\.[^'"`]*)\.ts\1, import\.meta\.url\)/g, 'new URL($1$2.mjs$1, import.meta.url)')
          .replaceAll('import.meta.url', `__urlOf(${JSON.stringify(here)})`)
          .replaceAll('import.meta.dirname', `__pathOf(${JSON.stringify(dirname(here))})`)
        return { contents, loader: 'ts' }
      })
    }
  }
}
