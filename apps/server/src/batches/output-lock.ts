import { realpath } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { tryProcessLock } from '../process-lock.ts'
import type { HeldLock } from '../process-lock.ts'

/** Somebody else writes into the file. */
export interface OutputInUse {
  /** As a sentence names them: `another daybreak (pid 4711)`. */
  readonly usedBy: string
}

/**
 * Makes a file of answers this process's alone, whether or not it is there yet, until disposed of. The lock lies beside it, or beside
 * what it links to, as `<output>.lock`: machines that have the folder in common see it too.
 * @throws Error (rejects) where nothing can be written beside it
 */
export async function lockOutput (output: string): Promise<HeldLock | OutputInUse> {
  const path = await realpath(output).catch(() => output)
  const lock = await tryProcessLock(`${path}.lock`, async ms => { await sleep(ms) })
  if (lock.lost !== undefined) return lock
  const { holder } = lock
  if (holder === undefined) return { usedBy: 'another daybreak' }
  return { usedBy: `another daybreak (pid ${holder.pid}${holder.host === hostname() ? '' : ` on ${holder.host}`})` }
}
