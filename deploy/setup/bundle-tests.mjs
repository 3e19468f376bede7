/**
 * Tests load hundreds of modules each, in processes and worker threads of their own; one by one that costs more than most tests do.
 * So a run bundles our code once: per test, and per module that tests start as a process or thread, a file into which its
 * modules are put together. Packages stay outside. load-sources.mjs gives out these files in place of the sources.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, stop } from 'esbuild'
import { projectRoot } from './cache-folder.mjs'

/**
 * @param {string} folder an empty one; a bundle has its source's path in it, with `.mjs` for `.ts`
 */
export async function bundleTests (folder) {
  const sources = ['apps', 'packages', 'test'].flatMap(top => readdirSync(join(projectRoot, top), { recursive: true })
    .filter(file => file.endsWith('.ts') && !file.split(sep).includes('node_modules'))
    .map(file => join(projectRoot, top, file)))
  const entries = new Set(sources.flatMap(file => [...startedBy(file), .../(\.test|-worker)\.ts$/.test(file) ? [file] : []]))
  await build({
    entryPoints: [...entries].map(file => ({ in: file, out: relative(projectRoot, file).replace(/\.ts$/, '') })),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    // What is imported late stays late; otherwise each entry would have to itself what it needs.
    splitting: true,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['@daybreak/source'],
    sourcemap: 'linked',
    sourcesContent: false,
    plugins: [packagesStayOutside, urlsOfSources],
    logLevel: 'warning'
  })
  await stop()
}

/** Modules of ours that a source names by URL: it starts them, it does not import them. */
function startedBy (file) {
  return [...readFileSync(file, 'utf8').matchAll(/new URL\((['"`])([^'"`]*\.ts)\1, import\.meta\.url\)/g)].map(([, , path]) => resolve(dirname(file), path))
}

/** A bundle does not lie where Node would look for its packages: it names their files. */
const packagesStayOutside = {
  name: 'packages-stay-outside',
  setup (esbuild) {
    esbuild.onResolve({ filter: /^[^./]/ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
      if (pluginData === 'asked' || path.startsWith('@daybreak/')) return undefined
      const found = await esbuild.resolve(path, { kind, importer, resolveDir, pluginData: 'asked' })
      return found.external || found.errors.length > 0 ? found : { path: pathToFileURL(found.path).href, external: true }
    })
    // Set-up runs as it is, and writes about `import.meta.url` itself.
    esbuild.onResolve({ filter: /^\..*\.mjs$/ }, ({ path, resolveDir }) => ({ path: pathToFileURL(resolve(resolveDir, path)).href, external: true }))
  }
}

/** Every module goes on to find what lies beside its source. */
const urlsOfSources = {
  name: 'urls-of-sources',
  setup (esbuild) {
    esbuild.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8')
      const contents = text
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href))
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)))
      return { contents, loader: 'ts' }
    })
  }
}
