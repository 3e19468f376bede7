import { execFile } from 'node:child_process'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { needsAdapter } from '../../deploy/setup/ensure-adapter.mjs'
import { privateAdapterEnvironments, privateLoaderEnvironments } from '../../deploy/setup/private-adapter.mjs'

const module = new URL('../../deploy/setup/ensure-adapter.mjs', import.meta.url).href
const onLinux = process.platform === 'linux' ? {} : { skip: 'only Linux needs an adapter found for it' }

/** What `ensureAdapter` says in a process with this environment and no private folder: the variables, or its error. */
async function ensure (environment: Record<string, string>): Promise<string> {
  const program = `import { ensureAdapter } from ${JSON.stringify(module)}
    console.log(await ensureAdapter(async () => undefined).then(JSON.stringify, error => 'refused: ' + error.message))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { env: { ...process.env, ...environment } })
  return stdout.trim()
}

t.test('where no driver works, the message says what to install', onLinux, async t => {
  const said = await ensure({ DAYBREAK_CACHE_DIR: t.testdir(), VK_DRIVER_FILES: '/nonexistent.json', VK_ICD_FILENAMES: '', DAYBREAK_SETUP_ADAPTER: 'auto' })
  t.match(said, /^refused: daybreak: found no Vulkan adapter/)
  t.match(said, 'a GPU: install')
})

t.test('an unknown choice is answered with the known ones', async t => {
  t.match(await ensure({ DAYBREAK_SETUP_ADAPTER: 'hardware' }), /^refused: .*"hardware".*auto, system, software-private/)
})

t.test('a verdict is remembered for the same drivers, and asked for anew when something about them changes', onLinux, async t => {
  const cache = t.testdir()
  const environment = { DAYBREAK_CACHE_DIR: cache, DAYBREAK_SETUP_ADAPTER: 'auto' }
  const first = await ensure(environment)
  t.notMatch(first, 'refused', 'this machine has an adapter, or no test of kernels could run')
  const adapters = join(cache, 'adapters')
  const [verdict = ''] = readdirSync(adapters)
  // A mark in the remembered answer shows whether it was used.
  const remembered: { environment: Record<string, string> } = JSON.parse(readFileSync(join(adapters, verdict), 'utf8'))
  writeFileSync(join(adapters, verdict), JSON.stringify({ ...remembered, environment: { ...remembered.environment, MARK: 'remembered' } }))
  t.match(await ensure(environment), '"MARK":"remembered"')
  t.notMatch(await ensure({ ...environment, XDG_DATA_DIRS: '/elsewhere' }), 'MARK')
})

t.test('help, versions and measuring a running server need no adapter', async t => {
  for (const args of [[], ['--help'], ['serve', '-h'], ['bench', 'engine', '--help'], ['--version'], ['bench', 'serve', '--port', '8000']]) t.notOk(needsAdapter(args), args.join(' '))
  for (const args of [['serve'], ['serve', '--port', '0'], ['bench', 'engine']]) t.ok(needsAdapter(args), args.join(' '))
})

t.test('the private folder comes before what the environment names already', async t => {
  const folder = t.testdir({ 'lvp_icd.json': '{}' })
  t.strictSame(privateAdapterEnvironments(folder, { LD_LIBRARY_PATH: '/x' }), [{
    VK_DRIVER_FILES: join(folder, 'lvp_icd.json'),
    LD_LIBRARY_PATH: `${join(folder, 'loader')}:${join(folder, 'lib')}:/x`
  }])
  t.strictSame(privateLoaderEnvironments(folder, {}).map(({ LD_LIBRARY_PATH }) => LD_LIBRARY_PATH), [join(folder, 'loader'), `${join(folder, 'loader')}:${join(folder, 'lib')}`])
})

t.test('a bundle without a software adapter offers none', async t => {
  t.strictSame(privateAdapterEnvironments(t.testdir(), {}), [])
})
