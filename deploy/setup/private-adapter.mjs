/**
 * Mesa's software Vulkan driver in a private folder: no root, no change to the system.
 *
 * `apt-get` resolves and downloads against an empty package status of our own, so the folder ends up with everything
 * the driver needs except the C and C++ runtimes, which have to be the ones Node itself runs on.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, realpathSync, copyFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { formatSources } from './apt-sources.mjs'
import { cacheFolder, projectRoot } from './cache-folder.mjs'
import { runTool } from './child-process.mjs'
import { withFileLock } from './file-lock.mjs'

/** Loaded by the system's dynamic linker before any folder of ours is looked at; a second copy would clash. */
const runtimePackages = /^(libc6|libgcc-s1|libstdc\+\+6|gcc-\d+-base|libcrypt1)_/

/**
 * @param {import('./mesa-source.mjs').MesaSource} source
 * @returns {Promise<string>} the folder: `lvp_icd.json`, `lib/` (the driver and what it needs), `loader/` (libvulkan and its like, which only dispatch)
 */
export async function ensurePrivateAdapter (source) {
  const mesa = cacheFolder('mesa')
  const folder = join(mesa, source.id)
  const isComplete = () => existsSync(join(folder, 'lvp_icd.json'))
  if (isComplete()) return folder
  await withFileLock(join(mesa, `${source.id}.lock`), async () => {
    if (isComplete()) return
    console.error(`daybreak: fetching Mesa's software Vulkan driver (about 60 MB, once) into ${folder}`)
    const work = join(mesa, `${source.id}.work`) // kept when interrupted: apt-get resumes partial downloads
    const packages = await download(source, work)
    const root = await unpack(packages, join(work, 'root'))
    arrange(root, join(work, 'arranged'))
    renameSync(join(work, 'arranged'), folder)
    rmSync(work, { recursive: true, force: true })
  }, () => console.error('daybreak: another start is fetching the software Vulkan driver; waiting for it'))
  return folder
}

/**
 * Environments in which a process, from its start, finds the private driver; the first that works is the right one.
 * @param {string} folder
 */
export function privateAdapterEnvironments (folder, environment = process.env) {
  const driver = join(folder, 'lvp_icd.json')
  return existsSync(driver) ? [{ VK_DRIVER_FILES: driver, LD_LIBRARY_PATH: searchPath(environment, join(folder, 'loader'), join(folder, 'lib')) }] : []
}

/** For a GPU whose driver is there without the Vulkan loader, or without the window-system libraries it links to. */
export function privateLoaderEnvironments (folder, environment = process.env) {
  return [[join(folder, 'loader')], [join(folder, 'loader'), join(folder, 'lib')]].map(folders => ({ LD_LIBRARY_PATH: searchPath(environment, ...folders) }))
}

function searchPath (environment, ...folders) {
  return [...folders, environment.LD_LIBRARY_PATH].filter(Boolean).join(delimiter)
}

async function download ({ sources, targetRelease }, work) {
  const archives = join(work, 'archives')
  for (const folder of [join(work, 'lists', 'partial'), join(archives, 'partial')]) mkdirSync(folder, { recursive: true })
  writeFileSync(join(work, 'status'), '')
  writeFileSync(join(work, 'system.sources'), formatSources(sources))
  const options = Object.entries({
    'Dir::State': work,
    'Dir::State::Lists': join(work, 'lists'),
    'Dir::State::status': join(work, 'status'),
    'Dir::Cache': work,
    'Dir::Cache::Archives': archives,
    'Dir::Etc::SourceList': join(work, 'system.sources'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::Etc::Preferences': '/dev/null',
    'Dir::Etc::PreferencesParts': '/dev/null',
    'APT::Sandbox::User': '', // already as unprivileged as we are
    'APT::Get::List-Cleanup': 'true',
    'APT::Update::Post-Invoke': '',
    'APT::Update::Post-Invoke-Success': '',
    'APT::Install-Recommends': 'false',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    'Acquire::http::Timeout': '30'
  }).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  await apt([...options, '-qq', '--error-on=any', 'update'])
  const target = targetRelease === undefined ? [] : ['-t', targetRelease]
  await apt([...options, '-qq', '-y', '--download-only', ...target, 'install', 'mesa-vulkan-drivers', 'libvulkan1', 'libxext6'])
  // Dispatchers alone, without the drivers that they depend on: a GPU's own driver links to them.
  await apt([...options, '-qq', ...target, 'download', 'libegl1', 'libglx0', 'libglvnd0'], { cwd: archives })
  return readdirSync(archives).filter(name => name.endsWith('.deb') && !runtimePackages.test(name)).map(name => join(archives, name))
}

async function apt (args, { cwd = projectRoot, retries = 30 } = {}) {
  const { code, output } = await runTool('apt-get', args, { cwd, env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' } })
  // The apt-get of a start that was killed may outlive it for a moment, and hold the folder.
  if (code !== 0 && retries > 0 && /could not get lock|unable to lock/i.test(output)) {
    await delay(1000)
    return apt(args, { cwd, retries: retries - 1 })
  }
  if (code !== 0) throw new Error(`apt-get ended with ${code}: ${output.trim().split('\n').slice(-3).join(' / ')}`)
}

async function unpack (packages, root) {
  rmSync(root, { recursive: true, force: true })
  mkdirSync(root, { recursive: true })
  for (const file of packages) {
    const { code, output } = await runTool('dpkg-deb', ['--extract', file, root])
    if (code !== 0) throw new Error(`unpacking ${basename(file)} failed: ${output.trim()}`)
  }
  return root
}

/** Keeps the shared libraries in two flat folders; of Mesa's drivers, the software one alone. */
function arrange (root, target) {
  rmSync(target, { recursive: true, force: true })
  for (const name of ['lib', 'loader']) mkdirSync(join(target, name), { recursive: true })
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const isLibrary = /^lib.+\.so(\.\d+)*$/.test(entry.name)
    const isOtherDriver = /^libvulkan_/.test(entry.name) && entry.name !== 'libvulkan_lvp.so'
    const file = join(entry.parentPath ?? entry.path, entry.name) // `path` is Node 20's older name
    if (!isLibrary || isOtherDriver || !existsSync(file)) continue
    const place = join(target, /^lib(vulkan|EGL|GLX|GLdispatch)\.so/.test(entry.name) ? 'loader' : 'lib')
    const original = basename(realpathSync(file))
    // A link into another folder of the package has its target beside it here.
    if (entry.name === original) copyFileSync(realpathSync(file), join(place, original))
    else if (!existsSync(join(place, entry.name))) symlinkSync(original, join(place, entry.name))
  }
  const manifest = JSON.parse(readFileSync(findManifest(root), 'utf8'))
  // Relative to the manifest: the folder may be moved, and bundled.
  manifest.ICD.library_path = './lib/libvulkan_lvp.so'
  writeFileSync(join(target, 'lvp_icd.json'), JSON.stringify(manifest, undefined, 2) + '\n')
}

function findManifest (root) {
  const folder = join(root, 'usr', 'share', 'vulkan', 'icd.d')
  const name = readdirSync(folder).find(file => /^lvp_icd.*\.json$/.test(file))
  if (name === undefined) throw new Error('the package mesa-vulkan-drivers holds no lavapipe driver')
  return join(folder, name)
}
