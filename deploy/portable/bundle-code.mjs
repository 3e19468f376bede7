/**
 * The server's entries as one file each, under the paths that their sources have, with `.mjs` for `.ts`.
 */
import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { build } from 'esbuild'

/** Not bundled: Dawn is native, and piscina starts its worker from a file of its own. */
const external = ['webgpu', 'piscina']

/** Lets bundled CommonJS require Node's own modules, and gives each module the URL it would have in the checkout. */
const banner = pathToRoot => `import { createRequire as __createRequire } from 'node:module'
const require = __createRequire(import.meta.url)
const __root = new URL(${JSON.stringify(pathToRoot)}, import.meta.url)
const __urlOf = path => new URL(path, __root).href
`

/**
 * @param {string} root the checkout
 * @param {string} target the folder that becomes the root of the bundle
 * @returns {Promise<{ external: readonly string[] }>} packages that must lie in the bundle's node_modules
 */
export async function bundleCode (root, target) {
  const sources = join('apps', 'server', 'src')
  const entries = readdirSync(join(root, sources), { recursive: true }).filter(file => /(^|[\\/])main\.ts$|-worker\.ts$/.test(file)).map(file => join(root, sources, file))
  for (const entry of entries) {
    const path = relative(root, entry).split(sep).join('/')
    const outfile = join(target, path.replace(/\.ts$/, '.mjs'))
    await build({
      entryPoints: [entry],
      outfile,
      bundle: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      conditions: ['@daybreak/source'],
      external: [...external],
      banner: { js: banner(`${relative(dirname(outfile), target).split(sep).join('/')}/`) },
      legalComments: 'eof',
      plugins: [ownUrls(root)],
      logLevel: 'warning'
    })
  }
  return { external }
}

/** In our own modules, `import.meta.url` is where the module would lie, not where the bundle does. */
function ownUrls (root) {
  const prefixes = ['apps', 'packages'].map(folder => join(root, folder) + sep)
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
        return { contents, loader: 'ts' }
      })
    }
  }
}
