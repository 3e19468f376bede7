import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { withFileLock } from '../../deploy/setup/file-lock.mjs'

t.test('one holder at a time, each in turn, and nothing is left behind', async t => {
  const lock = join(t.testdir(), 'lock')
  let holders = 0
  const seen = await Promise.all(Array.from({ length: 4 }, () => withFileLock(lock, async () => {
    holders++
    await new Promise(resolve => setImmediate(resolve))
    return holders--
  })))
  t.strictSame(seen, [1, 1, 1, 1])
  t.notOk(existsSync(lock))
})

t.test('the lock is given back when the work fails', async t => {
  const lock = join(t.testdir(), 'lock')
  await t.rejects(withFileLock(lock, () => { throw new Error('no') }), { message: 'no' })
  t.equal(await withFileLock(lock, () => 'second'), 'second')
})

t.test('the lock of a process that has died is taken over', async t => {
  const lock = join(t.testdir(), 'lock')
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  writeFileSync(lock, JSON.stringify({ pid: child.pid, host: hostname() }))
  t.equal(await withFileLock(lock, () => 'mine'), 'mine')
})

t.test('whoever waits says so once', async t => {
  const lock = join(t.testdir(), 'lock')
  let waits = 0
  let release = () => {}
  const first = withFileLock(lock, () => new Promise<void>(resolve => { release = resolve }))
  const second = withFileLock(lock, () => 'second', () => { waits++; release() })
  await first
  t.equal(await second, 'second')
  t.equal(waits, 1)
})
