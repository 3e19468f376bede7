import { homedir } from 'node:os'
import { join } from 'node:path'

/**
 * Where aliases keep their models, one folder each, named like the alias: `$DAYBREAK_CACHE_DIR/models`, else
 * `$XDG_CACHE_HOME/daybreak/models`, else `~/.cache/daybreak/models`. It may not exist.
 */
export function modelCacheFolder (env: Readonly<Record<string, string | undefined>>): string {
  return join(cacheFolder(env), 'models')
}

/** Where the engine keeps what it measures about adapters: `kernels` beside `models`. It may not exist. */
export function kernelCacheFolder (env: Readonly<Record<string, string | undefined>>): string {
  return join(cacheFolder(env), 'kernels')
}

function cacheFolder (env: Readonly<Record<string, string | undefined>>): string {
  return given(env['DAYBREAK_CACHE_DIR']) ?? join(given(env['XDG_CACHE_HOME']) ?? join(homedir(), '.cache'), 'daybreak')
}

const given = (value: string | undefined): string | undefined => value === '' ? undefined : value
