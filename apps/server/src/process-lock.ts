import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'

/** A living holder renews its lock this often, … */
const HEARTBEAT_MS = 2_000
/** … so that one this old has no holder any more, whatever its process id says: ids are used again, most of all in containers. */
const ABANDONED_AFTER_MS = 30_000
const POLL_MS = 250

/** A process that has a lock, on this machine or another. */
export interface LockHolder {
  readonly pid: number
  readonly host: string
}

/** Called once when somebody else, who is alive, holds the lock; undefined for one whose lock says nothing. */
export type OnWait = (holder: LockHolder | undefined) => void

export interface ProcessLockOptions {
  readonly sleep: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  readonly signal: AbortSignal | undefined
  readonly onWait?: OnWait | undefined
}

/**
 * Runs `work` while holding the lock file at `path`, across processes and, on a folder they have in common, machines. Waits for a
 * holder that is alive; takes over at once from one of this machine that has died, and after half a minute from any that is silent.
 * @param work its signal aborts when somebody has taken the lock over: this process must have stood still for that long
 */
export async function withProcessLock<Result> (path: string, options: ProcessLockOptions, work: (lost: AbortSignal) => Promise<Result>): Promise<Result> {
  const mine = ownContent()
  await take(path, mine, options)
  await using lock = held(path, mine)
  return await work(lock.lost)
}

/** A lock that this process has; disposing gives it back. */
export interface HeldLock extends AsyncDisposable {
  /** Aborts when somebody has taken it over: this process must have stood still for that long. */
  readonly lost: AbortSignal
}

/**
 * The lock file at `path`, if nobody has it who is alive. That somebody is shows when the lock is renewed, within seconds; one that is
 * not is taken over when it is old enough. Its process id alone says little: a container that was killed has the same one again, and
 * one that took its place another host name.
 * @returns who has it, otherwise
 */
export async function tryProcessLock (path: string, sleep: (ms: number) => Promise<void>): Promise<HeldLock | { readonly lost: undefined, readonly holder: LockHolder | undefined }> {
  const mine = ownContent()
  const first = await renewedAt(path)
  for (let waitedMs = 0; ; waitedMs += POLL_MS) {
    const attempt = await tryTake(path, mine)
    if (attempt === 'taken') return held(path, mine)
    if (attempt === 'abandoned') continue
    // A second look at one that names nobody: for a moment after its creation it does not, and one that cannot be read never will.
    const isNameless = attempt.holder === undefined && waitedMs > 0
    if (isNameless || await renewedAt(path) !== first) return { lost: undefined, holder: attempt.holder }
    await sleep(POLL_MS)
  }
}

async function renewedAt (path: string): Promise<number | undefined> {
  return await stat(path).then(({ mtimeMs }) => mtimeMs, () => undefined)
}

function ownContent (): string {
  return JSON.stringify({ pid: process.pid, host: hostname(), nonce: crypto.randomUUID() })
}

function held (path: string, mine: string): HeldLock {
  const lost = new AbortController()
  const heartbeat = setInterval(() => { renew(path, mine, lost).catch(() => {}) }, HEARTBEAT_MS)
  heartbeat.unref()
  return {
    lost: lost.signal,
    async [Symbol.asyncDispose] () {
      clearInterval(heartbeat)
      if (await contentOf(path) === mine) await rm(path, { force: true })
    }
  }
}

/** Whether somebody who is alive has the lock now; who that is, where the lock says it. */
export async function lockHolder (path: string): Promise<{ readonly holder: LockHolder | undefined } | undefined> {
  const content = await contentOf(path)
  return content === undefined || await isAbandoned(path, content) ? undefined : { holder: parseOwner(content) }
}

/** What tells whoever waits whom for: `waiting for another daybreak (pid 4711) that downloads some/model`. */
export function describeWait (what: string, holder: LockHolder | undefined): string {
  const place = holder === undefined || holder.host === hostname() ? '' : ` on ${holder.host}`
  return `waiting for another daybreak${holder === undefined ? '' : ` (pid ${holder.pid}${place})`} that downloads ${what}`
}

async function take (path: string, mine: string, { sleep, signal, onWait }: ProcessLockOptions): Promise<void> {
  let hasTold = false
  for (let numLooks = 0; ;) {
    const attempt = await tryTake(path, mine)
    if (attempt === 'taken') return
    if (attempt !== 'abandoned' && !hasTold) {
      numLooks += 1
      // For a moment after its creation a lock names nobody.
      hasTold = attempt.holder !== undefined || numLooks > 1
      if (hasTold) onWait?.(attempt.holder)
    }
    await sleep(POLL_MS, signal)
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

/** `abandoned`: the lock has been cleared away, or is gone by itself, and whoever is first has it. */
async function tryTake (path: string, mine: string): Promise<'taken' | 'abandoned' | { readonly holder: LockHolder | undefined }> {
  try {
    await writeFile(path, mine, { flag: 'wx' })
    return 'taken'
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
  const seen = await contentOf(path)
  // One that is there and cannot be read is somebody's; taken for gone it would be tried for ever.
  if (seen === undefined) return await stat(path).then(() => ({ holder: undefined }), () => 'abandoned' as const)
  if (!await isAbandoned(path, seen)) return { holder: parseOwner(seen) }
  const aside = `${path}.${crypto.randomUUID()}.abandoned`
  try {
    await rename(path, aside)
    // Somebody may have taken over between the look and the rename: then this is a living lock, and goes back.
    if (await contentOf(aside) === seen) await rm(aside, { force: true })
    else await rename(aside, path)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
  return 'abandoned'
}

async function isAbandoned (path: string, content: string): Promise<boolean> {
  const age = await stat(path).then(({ mtimeMs }) => Date.now() - mtimeMs, () => 0)
  if (age > ABANDONED_AFTER_MS) return true
  const owner = parseOwner(content)
  return owner !== undefined && owner.host === hostname() && !isRunning(owner.pid)
}

/** Undefined for the moment between a lock's creation and its first byte. */
function parseOwner (content: string): LockHolder | undefined {
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
