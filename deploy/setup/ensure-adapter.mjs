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
import { ensurePrivateAdapter, privateAdapterEnvironments, privateLoaderEnvironments } from './private-adapter.mjs'

/** Where container platforms mount NVIDIA's driver, outside the folders that the Vulkan loader searches. */
const driverFilesOutsideTheSearchPath = ['/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json']

const choices = ['auto', 'system', 'software-private']

/**
 * `DAYBREAK_SETUP_ADAPTER` chooses: `auto`; `system`: what is installed, fetching nothing; `software-private`: skip what is installed.
 *
 * @param {() => Promise<string | undefined>} [findPrivateFolder] a private adapter's folder (private-adapter.mjs); fetched unless given
 * @returns {Promise<Record<string, string>>} variables to add to a child's environment; empty when the system's own will do
 */
export async function ensureAdapter (findPrivateFolder = fetchPrivateFolder) {
  const choice = process.env.DAYBREAK_SETUP_ADAPTER ?? 'auto'
  if (!choices.includes(choice)) throw new Error(`DAYBREAK_SETUP_ADAPTER is ${JSON.stringify(choice)}; it takes ${choices.join(', ')}`)
  if (process.platform !== 'linux') return {}

  const verdictName = `${driverFingerprint(choice)}.json`
  const remembered = recall(verdictName)
  if (remembered !== undefined) return remembered

  const found = await findAdapter(choice, findPrivateFolder)
  if (found === undefined) throw new Error(installationAdvice())
  console.error(`daybreak: using ${found.adapter.software ? 'the CPU through' : ''} ${found.adapter.name}`.replace('  ', ' '))
  remember(verdictName, found)
  return found.environment
}

/** Help and version answer anywhere, and `bench serve` measures a server that is running already. */
export function needsAdapter (programArgs) {
  const asksForHelp = programArgs.some(arg => ['--help', '-h', '--version', '-V', 'help'].includes(arg))
  return programArgs.length > 0 && !asksForHelp && !(programArgs[0] === 'bench' && programArgs[1] === 'serve')
}

async function findAdapter (choice, findPrivateFolder) {
  // Whoever names driver files means those.
  const outside = process.env.VK_DRIVER_FILES ? [] : driverFilesOutsideTheSearchPath.filter(existsSync).map(file => ({ VK_DRIVER_FILES: file }))
  if (choice !== 'software-private') {
    const system = await tryInTurn([{}, ...outside])
    if (system !== undefined || choice === 'system') return system
  }
  const folder = await findPrivateFolder()
  if (folder === undefined) return undefined
  // A GPU's driver may be there, and only the libraries between it and us missing.
  const loaders = choice === 'auto' && hasGpuDevice() ? privateLoaderEnvironments(folder) : []
  const gpus = loaders.flatMap(loader => [loader, ...outside.map(driver => ({ ...loader, ...driver }))])
  return tryInTurn([...gpus, ...privateAdapterEnvironments(folder)])
}

async function fetchPrivateFolder () {
  const source = findMesaSource()
  if (source === undefined) return undefined
  try {
    return await ensurePrivateAdapter(source)
  } catch (error) {
    console.error(`daybreak: could not fetch a software Vulkan driver: ${error.message}`)
    return undefined
  }
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

function recall (verdictName) {
  try {
    const { environment } = JSON.parse(readFileSync(join(cacheFolder('adapters'), verdictName), 'utf8'))
    const driver = environment.VK_DRIVER_FILES
    return driver === undefined || existsSync(driver) ? environment : undefined
  } catch {
    return undefined
  }
}

/** A verdict that cannot be written down (a read-only system) is found anew by the next start. */
function remember (verdictName, found) {
  try {
    const folder = cacheFolder('adapters')
    const draft = join(folder, `${verdictName}.${process.pid}`)
    writeFileSync(draft, JSON.stringify(found, undefined, 2) + '\n')
    renameSync(draft, join(folder, verdictName))
  } catch {}
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
    projectRoot,
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
