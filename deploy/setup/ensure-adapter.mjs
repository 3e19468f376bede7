/**
 * A Vulkan adapter for Dawn: a GPU if there is one, else a software driver already installed, else one in a private folder.
 *
 * The answer is an environment for the child process, since the dynamic linker reads it only when a process starts.
 * It is remembered under a key of the driver files, so that a later start asks no driver at all.
 * macOS and Windows bring their own Metal and Direct3D: nothing to do there.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { homedir, release as kernelRelease } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheFolder, projectRoot } from './cache-folder.mjs'
import { runTool } from './child-process.mjs'
import { findMesaSource, installationAdvice } from './mesa-source.mjs'
import { ensurePrivateAdapter, privateAdapterEnvironment, privateLoaderEnvironment } from './private-adapter.mjs'

/** Where container platforms mount NVIDIA's driver, outside the folders that the Vulkan loader searches. */
const driverFilesOutsideTheSearchPath = ['/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json']

const choices = ['auto', 'system', 'software-private']

/**
 * @param {string} [choice] `auto`; `system`: use what is installed, fetch nothing; `software-private`: skip what is installed
 * @returns {Promise<Record<string, string>>} variables to add to a child's environment; empty when the system's own will do
 */
export async function ensureAdapter (choice = process.env.DAYBREAK_SETUP_ADAPTER ?? 'auto') {
  if (!choices.includes(choice)) throw new Error(`DAYBREAK_SETUP_ADAPTER is ${JSON.stringify(choice)}; it takes ${choices.join(', ')}`)
  if (process.platform !== 'linux') return {}

  const verdictFile = join(cacheFolder('adapters'), `${driverFingerprint(choice)}.json`)
  const remembered = recall(verdictFile)
  if (remembered !== undefined) return remembered

  const found = await findAdapter(choice)
  if (found === undefined) throw new Error(installationAdvice())
  console.error(`daybreak: using ${found.adapter.software ? 'the CPU through' : ''} ${found.adapter.name}`.replace('  ', ' '))
  remember(verdictFile, found)
  return found.environment
}

async function findAdapter (choice) {
  if (choice !== 'software-private') {
    const system = await tryInTurn([{}, ...driverFilesOutsideTheSearchPath.filter(existsSync).map(file => ({ VK_DRIVER_FILES: file }))])
    if (system !== undefined || choice === 'system') return system
  }
  const source = findMesaSource()
  if (source === undefined) return undefined
  let folder
  try {
    folder = await ensurePrivateAdapter(source)
  } catch (error) {
    console.error(`daybreak: could not fetch a software Vulkan driver: ${error.message}`)
    return undefined
  }
  const software = privateAdapterEnvironment(folder)
  const loader = privateLoaderEnvironment(folder)
  const gpus = choice === 'auto' && hasGpuDevice() ? [loader, ...driverFilesOutsideTheSearchPath.filter(existsSync).map(file => ({ ...loader, VK_DRIVER_FILES: file }))] : []
  return tryInTurn([...gpus, software])
}

async function tryInTurn (environments) {
  for (const environment of environments) {
    const adapter = await probe(environment)
    if (adapter !== undefined) return { adapter, environment }
  }
  return undefined
}

/** @returns {Promise<{ name: string, software: boolean } | undefined>} */
async function probe (environment) {
  const { code, stdout } = await runTool(process.execPath, [fileURLToPath(new URL('probe-adapter.mjs', import.meta.url))], {
    env: { ...process.env, ...environment },
    timeout: 60_000,
    killSignal: 'SIGKILL'
  })
  if (code !== 0) return undefined
  const line = stdout.split('\n').find(text => text.startsWith('{'))
  return line === undefined ? undefined : JSON.parse(line)
}

function hasGpuDevice () {
  return existsSync('/dev/nvidiactl') || existsSync('/dev/dri')
}

function recall (verdictFile) {
  try {
    const { environment } = JSON.parse(readFileSync(verdictFile, 'utf8'))
    const driver = environment.VK_DRIVER_FILES
    return driver === undefined || existsSync(driver) ? environment : undefined
  } catch {
    return undefined
  }
}

function remember (verdictFile, found) {
  const draft = `${verdictFile}.${process.pid}`
  writeFileSync(draft, JSON.stringify(found, undefined, 2) + '\n')
  renameSync(draft, verdictFile)
}

/** Changes when a driver, a loader, a device node, Dawn itself or a variable that steers the loader does. */
function driverFingerprint (choice) {
  const data = process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share')
  const watched = [
    ...['/etc/vulkan/icd.d', '/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', join(data, 'vulkan', 'icd.d')].flatMap(filesIn),
    ...driverFilesOutsideTheSearchPath,
    '/etc/ld.so.cache',
    '/proc/driver/nvidia/version'
  ]
  const variables = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES', 'VK_LOADER_DRIVERS_SELECT', 'VK_LOADER_DRIVERS_DISABLE', 'LD_LIBRARY_PATH', 'XDG_DATA_DIRS']
  const facts = [
    choice,
    process.version,
    process.arch,
    kernelRelease(),
    process.getuid?.(),
    readFileSync(join(projectRoot, 'packages', 'engine', 'package.json'), 'utf8'),
    ...watched.map(describe),
    ...['/dev/dri', '/dev/nvidiactl'].map(path => `${path} ${existsSync(path)}`),
    ...variables.map(name => `${name}=${process.env[name] ?? ''}`)
  ]
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 24)
}

function filesIn (folder) {
  try {
    return readdirSync(folder).sort().map(name => join(folder, name))
  } catch {
    return []
  }
}

function describe (file) {
  try {
    const { mtimeMs, size } = statSync(file)
    return `${file} ${size} ${mtimeMs}`
  } catch {
    return `${file} absent`
  }
}
