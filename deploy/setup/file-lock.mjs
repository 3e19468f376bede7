/**
 * One process at a time for a piece of set-up: two starts in the same second must not install over each other.
 */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

/** A lock of another machine (a shared home folder) cannot be asked whether its owner lives; its age decides. */
const FOREIGN_LOCK_STALE_MS = 30 * 60_000

/**
 * Runs `work` while holding the lock file at `path`; waits for another holder that is alive, takes over from a dead one.
 * @template T
 * @param {string} path
 * @param {() => Promise<T> | T} work
 * @param {() => void} [onWait] called once when somebody else holds the lock
 * @returns {Promise<T>}
 */
export async function withFileLock (path, work, onWait = () => {}) {
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), nonce: Math.random() })
  for (let waited = false; !tryTake(path, mine); waited = true) {
    if (!waited) onWait()
    await delay(200)
  }
  try {
    return await work()
  } finally {
    if (readOrUndefined(path) === mine) rmSync(path, { force: true })
  }
}

function tryTake (path, mine) {
  try {
    writeFileSync(path, mine, { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
  }
  const seen = readOrUndefined(path)
  if (seen !== undefined && isAbandoned(path, seen)) {
    const aside = `${path}.${process.pid}.stale`
    try {
      renameSync(path, aside)
      // Somebody may have taken over between the look and the rename: then this is a living lock, and goes back.
      if (readOrUndefined(aside) === seen) rmSync(aside)
      else renameSync(aside, path)
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
    }
  }
  return false
}

function isAbandoned (path, content) {
  let owner
  try {
    owner = JSON.parse(content)
  } catch {
    owner = {} // killed between creating and writing: only its age is known
  }
  if (owner.host !== hostname()) {
    try {
      return Date.now() - statSync(path).mtimeMs > (owner.host === undefined ? 10_000 : FOREIGN_LOCK_STALE_MS)
    } catch {
      return false
    }
  }
  try {
    process.kill(owner.pid, 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

function readOrUndefined (path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
