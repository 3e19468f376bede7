/**
 * `npm run portable:tests`: the tests that need a GPU as a folder that runs on a host without network or npm:
 *
 *   dist/portable-tests/run-tests.mjs     (node run-tests.mjs, with Node 20.12 or newer)
 *
 * Arguments are test files or folders; by default all kernels, the runner's tests that open an engine, and the composition's. Tests, tap
 * and our code are bundled; shaders, models and fixtures lie where the checkout has them, Dawn in node_modules. `--code-only` leaves
 * these three out, for a host that can link them in.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { projectRoot } from '../setup/cache-folder.mjs'
import { bundleCode, external } from './bundle-code.mjs'
import { copyPackages } from './copy-packages.mjs'
import { bundleBanner, ownUrls } from './own-urls.mjs'

const { positionals, values: { 'code-only': codeOnly, output } } = parseArgs({
  allowPositionals: true,
  options: {
    'code-only': { type: 'boolean', default: false },
    output: { type: 'string', default: join(projectRoot, 'dist', 'portable-tests') }
  }
})
/** tap compares React's elements where there are any, by a package that it loads on the way. */
const withoutReact = {
  name: 'without-react',
  setup: esbuild => esbuild.onLoad({ filter: /tcompare[\\/]dist[\\/]esm[\\/]react-element-to-jsx-string\.js$/ }, () => ({ contents: 'export default String' }))
}
const root = projectRoot.replace(/[\\/]$/, '')
const opensDevice = file => /\b(GpuHarness\.open|openForTest|openEngine)\b/.test(readFileSync(file, 'utf8'))
const files = positionals.length > 0
  ? positionals.flatMap(testsBelow)
  : [...testsBelow('test/engine/kernels'), ...testsBelow('test/engine/runner').filter(opensDevice), ...testsBelow('test/engine/composed')]
if (files.length === 0) throw new Error('these hold no tests')

rmSync(output, { recursive: true, force: true })
mkdirSync(output, { recursive: true })
await build({
  // Side by side with what they share, so that one path leads to the root from all of them: run-test-bundle.mjs reads the names.
  entryPoints: files.map(file => ({ in: file, out: relative(root, file).split(sep).join('--').replace(/\.ts$/, '') })),
  outdir: join(output, 'code'),
  outExtension: { '.js': '.mjs' },
  chunkNames: 'chunk-[hash]',
  splitting: true,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  conditions: ['@daybreak/source'],
  external,
  banner: { js: bundleBanner('../') },
  legalComments: 'eof',
  plugins: [ownUrls(root, ['apps', 'packages', 'test']), withoutReact],
  logLevel: 'warning'
})
// Long texts are tokenised on a worker thread.
await bundleCode(root, output, /-worker\.ts$/)

for (const file of ['deploy/portable/run-test-bundle.mjs', 'deploy/setup/tap-summary.mjs']) cpSync(join(root, file), join(output, file))
writeFileSync(join(output, 'run-tests.mjs'), "import './deploy/portable/run-test-bundle.mjs'\n")
writeFileSync(join(output, 'package.json'), JSON.stringify({ name: 'daybreak-tests', private: true, type: 'module' }, undefined, 2) + '\n')
if (!codeOnly) {
  for (const folder of ['packages/engine/wgsl', 'models', 'test/fixtures']) cpSync(join(root, folder), join(output, folder), { recursive: true, filter: file => !/\.(ts|py)$/.test(file) })
  copyPackages(root, external, join(output, 'node_modules'))
}
console.log(`${files.length} test files in ${output}`)

function testsBelow (path) {
  const full = resolve(root, path)
  if (!existsSync(full)) throw new Error(`${path} is neither a test file nor a folder`)
  if (!statSync(full).isDirectory()) return [full]
  return readdirSync(full, { recursive: true }).filter(file => file.endsWith('.test.ts')).sort().map(file => join(full, file))
}
