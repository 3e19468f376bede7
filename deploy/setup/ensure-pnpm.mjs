/**
 * The pinned pnpm: the one on PATH when it is that very version, else from npm's own cache through `npm exec`.
 */
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { runTool } from './child-process.mjs'
import { projectRoot } from './cache-folder.mjs'

const onWindows = process.platform === 'win32'

/** `packageManager` of package.json, e.g. `pnpm@10.34.8`. */
export const pinnedPnpm = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')).packageManager

/**
 * @returns {Promise<{ command: string, args: string[], shell: boolean }>} to be followed by pnpm's own arguments
 */
export async function ensurePnpm () {
  // Asked outside the project: inside it, pnpm would first turn itself into the pinned version.
  const found = await runTool('pnpm', ['--version'], { cwd: tmpdir(), shell: onWindows, env: { ...process.env, COREPACK_ENABLE_DOWNLOAD_PROMPT: '0' } })
  if (found.code === 0 && `pnpm@${found.stdout.trim()}` === pinnedPnpm) return { command: 'pnpm', args: [], shell: onWindows }

  console.error(`daybreak: using ${pinnedPnpm} through npm exec`)
  const exec = ['exec', '--yes', `--package=${pinnedPnpm}`, '--', 'pnpm']
  const npmCli = process.env.npm_execpath
  if (npmCli !== undefined && basename(npmCli) === 'npm-cli.js') return { command: process.execPath, args: [npmCli, ...exec], shell: false }
  return { command: 'npm', args: exec, shell: onWindows }
}
