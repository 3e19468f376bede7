/**
 * The server's entries as one file each, under the paths that their sources have, with `.mjs` for `.ts`.
 */
import { readdirSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { build } from 'esbuild'
import { bundleBanner, ownUrls } from './own-urls.mjs'

/** Not bundled: Dawn is native, and piscina starts its worker from a file of its own. */
export const external = ['webgpu', 'piscina']

/**
 * @param {string} root the checkout
 * @param {string} target the folder that becomes the root of the bundle
 * @param {RegExp} [wanted] which files below apps/server/src are entries
 * @returns {Promise<{ external: readonly string[] }>} packages that must lie in the bundle's node_modules
 */
export async function bundleCode (root, target, wanted = /(^|[\\/])main\.ts$|-worker\.ts$/) {
  const sources = join('apps', 'server', 'src')
  const entries = readdirSync(join(root, sources), { recursive: true }).filter(file => wanted.test(file)).map(file => join(root, sources, file))
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
      external,
      banner: { js: bundleBanner(`${relative(dirname(outfile), target).split(sep).join('/')}/`) },
      legalComments: 'eof',
      plugins: [ownUrls(root, ['apps', 'packages'])],
      logLevel: 'warning'
    })
  }
  return { external }
}
