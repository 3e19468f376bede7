/**
 * Where set-up keeps what outlives one start: locks, the adapter verdict, a private software adapter.
 */
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Absolute path of the checkout, without a trailing separator. */
export const projectRoot = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '')

/**
 * `$DAYBREAK_CACHE_DIR`, else `$XDG_CACHE_HOME/daybreak`, else `~/.cache/daybreak`; created when missing.
 * @param {...string} parts a folder below it, created too
 * @returns {string}
 */
export function cacheFolder (...parts) {
  const base = process.env.DAYBREAK_CACHE_DIR ||
    join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'daybreak')
  const folder = join(base, ...parts)
  mkdirSync(folder, { recursive: true })
  return folder
}
