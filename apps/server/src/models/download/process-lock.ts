import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'

/** A living holder renews its lock this often, … */
const HEARTBEAT_MS = 2_000
/** … so that one this old has no holder any more, whatever its process id says: ids are used again, most of all in containers. */
const ABANDONED_AFTER_MS = 30_000
const POLL_MS = 250

export interface ProcessLockOptions {
  readonly sleep: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  readonly signal: AbortSignal | undefined
  /** Called once when somebody else holds the lock. */
  readonly onWait?: (() => void) | undefined
}

/**
 * Runs `work` while holding the lock file at `path`, across processes and, on a folder they have in common, machines. Waits for a
 * holder that is alive; takes over at once from one of this machine that has died, and after half a minute from any that is silent.
 * @param work its signal aborts when somebody has taken the lock over: this process must have stood still for that long
 */
export async function withProcessLock<Result> (path: string, options: ProcessLockOptions, work: (lost: AbortSignal) => Promise<Result>): Promise<Result> {
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), nonce: crypto.randomUUID() })
  for (let hasWaited = false; !await tryTake(path, mine); hasWaited = true) {
    if (!hasWaited) options.onWait?.()
    await options.sleep(POLL_MS, options.signal)
  }
  const lost = new AbortController()
  const heartbeat = setInterval(() => { renew(path, mine, lost).catch(() => {}) }, HEARTBEAT_MS)
  heartbeat.unref()
  try {
    return await work(lost.signal)
  } finally {
    clearInterval(heartbeat)
    if (await contentOf(path) === mine) await rm(path, { force: true })
  }
}

async function renew (path: string, mine: string, lost: AbortController): Promise<void> {
  if (await contentOf(path) !== mine) {
    lost.abort(new Error(`${path} belongs to another process now`))
    return
  }
  const now = new Date()
  await utimes(path, now, now)
}

async function tryTake (path: string, mine: string): Promise<boolean> {
  try {
    await writeFile(path, mine, { flag: 'wx' })
    return true
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
  const seen = await contentOf(path)
  if (seen === undefined || !await isAbandoned(path, seen)) return false
  const aside = `${path}.${process.pid}.abandoned`
  try {
    await rename(path, aside)
    // Somebody may have taken over between the look and the rename: then this is a living lock, and goes back.
    if (await contentOf(aside) === seen) await rm(aside, { force: true })
    else await rename(aside, path)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
  return false
}

async function isAbandoned (path: string, content: string): Promise<boolean> {
  const age = await stat(path).then(({ mtimeMs }) => Date.now() - mtimeMs, () => 0)
  if (age > ABANDONED_AFTER_MS) return true
  const owner = parseOwner(content)
  return owner !== undefined && owner.host === hostname() && !isRunning(owner.pid)
}

/** Undefined for the moment between a lock's creation and its first byte. */
function parseOwner (content: string): { readonly pid: number, readonly host: string } | undefined {
  try {
    const owner: unknown = JSON.parse(content)
    if (typeof owner !== 'object' || owner === null || !('pid' in owner) || !('host' in owner)) return undefined
    const { pid, host } = owner
    return typeof pid === 'number' && typeof host === 'string' ? { pid, host } : undefined
  } catch {
    return undefined
  }
}

function isRunning (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !hasCode(error, 'ESRCH')
  }
}

async function contentOf (path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

function hasCode (error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
