/**
 * `npm run portable`: everything the server needs in one archive that runs on a Linux host without network, Node or npm.
 *
 *   dist/portable/daybreak-linux-x64.tar.xz     (--no-software-adapter leaves Mesa out, for hosts that have a GPU)
 *
 * The code is bundled per entry and laid out under the paths that the sources have, so that every `new URL(…, import.meta.url)`
 * in them finds what it finds in the checkout: workers, shaders, models.
 */
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync, chmodSync, cpSync, copyFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { projectRoot } from '../setup/cache-folder.mjs'
import { runTool } from '../setup/child-process.mjs'
import { findMesaSource } from '../setup/mesa-source.mjs'
import { ensurePrivateAdapter } from '../setup/private-adapter.mjs'
import { bundleCode } from './bundle-code.mjs'
import { copyPackages } from './copy-packages.mjs'

const { values: { 'no-software-adapter': withoutSoftwareAdapter, output } } = parseArgs({
  options: {
    'no-software-adapter': { type: 'boolean', default: false },
    output: { type: 'string', default: join(projectRoot, 'dist', 'portable') }
  }
})

/** What NVIDIA's Vulkan driver links to, and a host without a display may lack. */
const windowSystemLibraries = ['libX11.so.6', 'libXext.so.6', 'libxcb.so.1', 'libXau.so.6', 'libXdmcp.so.6', 'libbsd.so.0', 'libmd.so.0']

if (process.platform !== 'linux') throw new Error('the portable bundle is for Linux, and takes its parts from the system it is made on')
const name = `daybreak-linux-${process.arch}`
const folder = join(output, name)
rmSync(folder, { recursive: true, force: true })
mkdirSync(join(folder, 'bin'), { recursive: true })

say('node', `the running ${process.version}`)
const node = join(folder, 'bin', 'node')
copyFileSync(realpathSync(process.execPath), node)
if (statSync(node).size < 20e6) throw new Error(`${process.execPath} is not all of Node: it loads the rest from the system`)
await runTool('strip', [node]) // without it the binary is only larger

say('code', 'one bundle per process and worker')
const { external } = await bundleCode(projectRoot, folder)
for (const file of ['LICENSE', 'apps/server/package.json', 'packages/engine/package.json', 'packages/engine/wgsl', 'models']) copy(file)
for (const file of ['cache-folder', 'child-process', 'ensure-adapter', 'apt-sources', 'mesa-source', 'private-adapter', 'file-lock', 'probe-adapter']) copy(`deploy/setup/${file}.mjs`)
copy('deploy/portable/launch.mjs')

say('packages', 'that hold native parts or start workers of their own')
copyPackages(projectRoot, external, join(folder, 'node_modules'))

await addVulkan()

writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }, undefined, 2) + '\n')
writeFileSync(join(folder, 'daybreak'), `#!/bin/sh
# Runs daybreak from wherever this folder lies; --help lists what it does.
here=$(dirname -- "$(readlink -f -- "$0")")
exec "$here/bin/node" "$here/deploy/portable/launch.mjs" "$@"
`)
chmodSync(join(folder, 'daybreak'), 0o755)

await pack()

async function addVulkan () {
  const source = findMesaSource()
  if (source === undefined) {
    console.error('daybreak: no Vulkan loader or software adapter in the bundle: this system has no apt sources to fetch them from')
    return
  }
  const adapter = await ensurePrivateAdapter(source)
  say('vulkan', withoutSoftwareAdapter ? 'the loader alone' : 'the loader, and Mesa\'s driver for the CPU')
  const keep = withoutSoftwareAdapter ? ['loader'] : ['loader', 'lib', 'lvp_icd.json']
  for (const part of keep) cpSync(join(adapter, part), join(folder, 'vulkan', part), { recursive: true, verbatimSymlinks: true })
  for (const library of withoutSoftwareAdapter ? windowSystemLibraries : []) {
    const file = join(adapter, 'lib', library)
    if (existsSync(file)) cpSync(file, join(folder, 'vulkan', 'lib', library), { dereference: true })
  }
}

async function pack () {
  const hasXz = (await runTool('xz', ['--version'])).code === 0
  const archive = join(output, `${name}.tar.${hasXz ? 'xz' : 'gz'}`)
  say('archive', archive)
  const { code, output: words } = await runTool('tar', ['--owner=0', '--group=0', '--sort=name', hasXz ? '-cJf' : '-czf', archive, '-C', output, name], {
    env: { ...process.env, XZ_OPT: '-3 -T0' }
  })
  if (code !== 0) throw new Error(`tar ended with ${code}: ${words.trim()}`)
  console.log(`${archive}  ${(statSync(archive).size / 1e6).toFixed(1)} MB`)
}

function copy (file) {
  cpSync(join(projectRoot, file), join(folder, file), { recursive: true })
}

function say (part, what) {
  console.error(`daybreak: ${part}: ${what}`)
}
