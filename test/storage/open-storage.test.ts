import { utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { dataFolder, openStorage } from '../../apps/server/src/storage/index.ts'

t.test('a folder is one process\'s at a time: another hears whose it is, and has it afterwards', async t => {
  const folder = join(t.testdir({}), 'new', 'data')
  const storage = await openStorage(folder)
  t.match(await openStorage(folder), { usedBy: process.pid })
  if (!('usedBy' in storage)) await storage[Symbol.asyncDispose]()
  const again = await openStorage(folder)
  t.notOk('usedBy' in again)
  if (!('usedBy' in again)) await again[Symbol.asyncDispose]()
})

t.test('the folder of a process that has died is free', async t => {
  const folder = t.testdir({ lock: JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), nonce: 'x' }) })
  const storage = await openStorage(folder)
  t.notOk('usedBy' in storage)
  if (!('usedBy' in storage)) await storage[Symbol.asyncDispose]()
})

t.test('the folder of a container that was killed is free when its lock has grown old, though its process id is ours and its host is not', async t => {
  for (const lock of [{ pid: process.pid, host: hostname() }, { pid: 1, host: 'another' }]) {
    const folder = t.testdir({ lock: JSON.stringify({ ...lock, nonce: 'x' }) })
    // A moment before it is old enough, as a server sees it that starts again at once and waits.
    const almost = new Date(Date.now() - 29_500)
    await utimes(join(folder, 'lock'), almost, almost)
    const storage = await openStorage(folder)
    t.notOk('usedBy' in storage)
    if (!('usedBy' in storage)) await storage[Symbol.asyncDispose]()
  }
})

t.test('a lock that cannot be read is somebody\'s', async t => {
  t.strictSame(await openStorage(t.testdir({ lock: {} })), { usedBy: undefined })
})

t.test('data lies where it was asked for, else where the system keeps data', async t => {
  t.equal(dataFolder('/srv/data', {}), '/srv/data')
  t.equal(dataFolder(undefined, { XDG_DATA_HOME: '/data' }), '/data/daybreak')
  t.match(dataFolder(undefined, { XDG_DATA_HOME: '' }), /\.local\/share\/daybreak$/)
})
