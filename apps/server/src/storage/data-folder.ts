import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** Where files and batches are kept: what was asked for, else `$XDG_DATA_HOME/daybreak`, else `~/.local/share/daybreak`. It may not exist. */
export function dataFolder (asked: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
  if (asked !== undefined) return resolve(asked)
  const shared = env['XDG_DATA_HOME']
  return join(shared === undefined || shared === '' ? join(homedir(), '.local', 'share') : shared, 'daybreak')
}
