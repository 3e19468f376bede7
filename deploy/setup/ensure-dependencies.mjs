/**
 * node_modules as the lockfile says: installed when missing or when the lockfile has changed since, else left alone.
 */
import { createHash } from 'node:crypto'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, projectRoot } from './cache-folder.mjs'
import { ensurePnpm, pinnedPnpm } from './ensure-pnpm.mjs'
import { withFileLock } from './file-lock.mjs'

const stampFile = join(projectRoot, 'node_modules', '.daybreak-installed')

/** Installs if need be. Throws with pnpm's exit status when the installation fails. */
export async function ensureDependencies () {
  const wanted = fingerprint()
  if (isInstalled(wanted)) return
  const lock = join(cacheFolder('locks'), `install-${hash(projectRoot).slice(0, 16)}`)
  await withFileLock(lock, async () => {
    if (isInstalled(wanted)) return
    console.error('daybreak: installing dependencies as the lockfile says')
    await install()
    writeFileSync(stampFile, wanted)
  }, () => console.error('daybreak: another start is installing the dependencies; waiting for it'))
}

async function install () {
  const pnpm = await ensurePnpm()
  // Nobody may be there to answer whether a node_modules of another pnpm may be replaced: it may.
  const args = [...pnpm.args, 'install', '--frozen-lockfile', '--config.confirmModulesPurge=false']
  // Set-up's stdout stays the program's own, so that `daybreak … > file` holds nothing else.
  const env = { ...process.env, npm_config_update_notifier: 'false' }
  const child = spawn(pnpm.command, args, { cwd: projectRoot, env, shell: pnpm.shell, stdio: ['ignore', process.stderr, 'inherit'] })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`installing the dependencies failed: pnpm ended with ${code} (its own words are above)`)
}

function isInstalled (wanted) {
  return existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted
}

/** Changes with the lockfile, the installer, and the machine the native parts were chosen for. */
function fingerprint () {
  const lockfile = readFileSync(join(projectRoot, 'pnpm-lock.yaml'))
  return hash([hash(lockfile), pinnedPnpm, process.platform, process.arch].join(' '))
}

function hash (data) {
  return createHash('sha256').update(data).digest('hex')
}
