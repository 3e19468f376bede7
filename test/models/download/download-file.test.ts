import { createHash } from 'node:crypto'
import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { describeWait, downloadFile, freeBytesOf } from '../../../apps/server/src/models/download/index.ts'
import type { DownloadRequest } from '../../../apps/server/src/models/download/index.ts'
import { gitSha1, sha256 } from '../../fakes/fake-hub.ts'
import { FaultyFileServer } from '../../fakes/faulty-file-server.ts'
import type { Fault, ServedRequest } from '../../fakes/faulty-file-server.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const SEED = 4711
const random = new SeededRandom(SEED)
const file = Uint8Array.from({ length: 300_000 }, () => Math.floor(random.uniform() * 256))
t.comment(`seed ${SEED}`)

interface Arrangement {
  readonly server: FaultyFileServer
  readonly folder: string
  readonly destination: string
  readonly delays: number[]
  /** Downloads the file, without waiting between tries. */
  readonly download: (options?: Partial<DownloadRequest>) => Promise<void>
  readonly requests: () => ServedRequest[]
}

async function arrange (t: Test, ...faults: readonly Fault[]): Promise<Arrangement> {
  const server = await FaultyFileServer.start()
  t.teardown(async () => { await server[Symbol.asyncDispose]() })
  const folder = await temporaryFolder(t)
  const destination = join(folder, 'below', 'file.bin')
  const url = server.put('/file.bin', file)
  server.fail('/file.bin', ...faults)
  const delays: number[] = []
  const sleep = async (ms: number): Promise<void> => { delays.push(ms) }
  return {
    server,
    folder,
    destination,
    delays,
    download: async options => { await downloadFile({ url, destination, sha256: sha256(file), sleep, ...options }) },
    requests: () => server.requestsOf('/file.bin')
  }
}

async function isWhole (path: string): Promise<boolean> {
  return Buffer.from(file).equals(await readFile(path))
}

t.test('a file arrives whole, in a folder that was not there, and nothing is left beside it', async t => {
  const { destination, download, requests } = await arrange(t)
  const progress: Array<readonly [number, number | undefined]> = []
  await download({ expectedBytes: file.length, onProgress: (done, total) => { progress.push([done, total]) } })
  t.ok(await isWhole(destination))
  t.strictSame(await readdir(join(destination, '..')), ['file.bin'])
  t.strictSame(progress[0], [0, file.length])
  t.strictSame(progress.at(-1), [file.length, file.length])
  t.ok(progress.every(([done], i) => done >= (progress[i - 1]?.[0] ?? 0)), 'progress never goes back')
  await download({ expectedBytes: file.length })
  t.equal(requests().length, 1, 'what is there is not asked for again')
})

t.test('the hash may be sha512, or the one git gives a blob', async t => {
  for (const hash of [{ sha256: undefined, sha512: createHash('sha512').update(file).digest('hex').toUpperCase() }, { sha256: undefined, gitSha1: gitSha1(file), expectedBytes: file.length }]) {
    const { destination, download } = await arrange(t)
    await download(hash)
    t.equal((await stat(destination)).size, file.length)
  }
  const { download } = await arrange(t)
  await t.rejects(download({ sha256: undefined, sha512: '00' }), { code: 'DOWNLOAD_MISMATCH', details: { property: 'sha512' } })
})

t.test('a connection that breaks is taken up where it was, and only the rest is asked for', async t => {
  const { destination, download, requests } = await arrange(t, { type: 'cut', afterBytes: 100_000 }, { type: 'cut', afterBytes: 50_000 })
  await download({ expectedBytes: file.length })
  t.ok(await isWhole(destination))
  // How much of an answer is read before the break is noticed is the system's affair.
  const offsets = requests().map(({ range }) => Number(/\d+/.exec(range ?? '0')?.[0]))
  t.equal(offsets.length, 3)
  t.ok(offsets.every((offset, i) => offset >= (offsets[i - 1] ?? 0) && offset <= 150_000), offsets.join(' '))
  t.equal(requests().at(-1)?.sentBytes, file.length - (offsets.at(-1) ?? 0))
})

t.test('failures in a row are counted from the last progress', async t => {
  const faults = Array.from({ length: 6 }, () => ({ type: 'hold', afterBytes: 40_000 } as const))
  const { server, destination, download, delays, requests } = await arrange(t, ...faults)
  // Not before it has arrived: what a broken connection still held may be lost.
  await download({ onProgress: done => { if (done % 40_000 === 0) server.breakHeld() } })
  t.ok(await isWhole(destination))
  t.strictSame(delays, [1000, 1000, 1000, 1000, 1000, 1000], 'more than would do without progress')
  t.equal(requests().at(-1)?.range, 'bytes=240000-')
})

t.test('what an earlier try left is used, and its hash counts', async t => {
  const { destination, download, requests } = await arrange(t)
  await download({ destination: `${destination}-other` })
  await writeFile(`${destination}.incomplete`, file.subarray(0, 123_456))
  const progress: number[] = []
  await download({ onProgress: done => { progress.push(done) } })
  t.ok(await isWhole(destination))
  t.match(requests().at(-1), { range: 'bytes=123456-', status: 206, sentBytes: file.length - 123_456 })
  t.equal(progress[0], 123_456)
})

t.test('an earlier try that left everything needs no request, one that left too much or something else begins anew', async t => {
  const whole = await arrange(t)
  await whole.download({ destination: `${whole.destination}-other` })
  await writeFile(`${whole.destination}.incomplete`, file)
  await whole.download({ expectedBytes: file.length })
  t.equal(whole.requests().length, 1)
  await writeFile(`${whole.destination}-2.incomplete`, file)
  await whole.download({ destination: `${whole.destination}-2` })
  t.match(whole.requests().at(-1), { status: 416 }, 'without a known length the server is asked')

  for (const left of [Buffer.concat([file, file]), file.map(byte => byte ^ 255).subarray(0, 1000)]) {
    await writeFile(`${whole.destination}-3.incomplete`, left)
    await whole.download({ destination: `${whole.destination}-3`, expectedBytes: file.length })
    t.ok(await isWhole(`${whole.destination}-3`))
    t.match(whole.requests().at(-1), { status: 200, range: undefined })
    await rm(`${whole.destination}-3`)
  }
})

t.test('a server that ignores the range, or sends another, gets asked for everything', async t => {
  for (const fault of [{ type: 'ignore-range' }, { type: 'wrong-range' }] as const) {
    const { destination, download } = await arrange(t, { type: 'cut', afterBytes: 100_000 }, fault)
    await download({ expectedBytes: file.length })
    t.ok(await isWhole(destination), fault.type)
  }
})

t.test('a hash that differs is an error, and what arrived is gone', async t => {
  const { destination, download, requests } = await arrange(t, { type: 'corrupt' })
  await t.rejects(download(), { name: 'DownloadMismatchError', code: 'DOWNLOAD_MISMATCH', details: { property: 'sha256', expected: sha256(file), found: sha256(file.map(byte => byte ^ 1)) } })
  t.strictSame(await readdir(join(destination, '..')), [])
  t.equal(requests().length, 1, 'the same server would send the same again')
  await download()
  t.ok(await isWhole(destination))
})

t.test('another length than the promised one is an error before anything is written', async t => {
  const { destination, download } = await arrange(t)
  for (const expectedBytes of [file.length - 1, file.length + 1]) {
    await t.rejects(download({ expectedBytes }), { code: 'DOWNLOAD_MISMATCH', details: { property: 'length', expected: String(expectedBytes), found: String(file.length) } })
    t.strictSame(await readdir(join(destination, '..')), [])
  }
})

t.test('a page in the place of the rest of a file costs nothing of what an earlier try left', async t => {
  const { destination, download, server, requests } = await arrange(t)
  await download({ destination: `${destination}-other` })
  await writeFile(`${destination}.incomplete`, file.subarray(0, 123_456))
  const page = server.put('/page', new TextEncoder().encode('<html>Please log in</html>'))
  server.fail('/page', { type: 'ignore-range' })
  await t.rejects(download({ url: page, expectedBytes: file.length }), { code: 'DOWNLOAD_MISMATCH', message: /length is 26, not \d+; nothing was taken$/, details: { keptBytes: 123_456 } })
  await download({ expectedBytes: file.length })
  t.ok(await isWhole(destination))
  t.match(requests().at(-1), { range: 'bytes=123456-', status: 206 })
})

t.test('reading back what an earlier try left ends with the signal', async t => {
  const { destination, download, requests } = await arrange(t)
  await download({ destination: `${destination}-other` })
  await writeFile(`${destination}.incomplete`, file.subarray(0, 123_456))
  const ended = new AbortController()
  const ending = download({ signal: ended.signal })
  ended.abort()
  await t.rejects(ending, { code: 'DOWNLOAD_INTERRUPTED' })
  t.equal(requests().length, 1)
  t.equal((await stat(`${destination}.incomplete`)).size, 123_456)
})

t.test('a file system that does not say what is free is tried', async t => {
  t.equal(await freeBytesOf(join(await temporaryFolder(t), 'nowhere')), Infinity)
})

t.test('a file whose length nobody tells arrives as well', async t => {
  const { destination, download } = await arrange(t, { type: 'chunked' })
  await download()
  t.equal((await stat(destination)).size, file.length)
})

t.test('429 and 5xx are tried again as late as the server asks, other statuses are not', async t => {
  const busy = await arrange(t, { type: 'status', status: 429, headers: { 'retry-after': '7' } }, { type: 'status', status: 503 }, { type: 'status', status: 500 })
  await busy.download()
  t.strictSame(busy.delays, [7000, 2000, 4000])

  const down = await arrange(t, ...Array.from({ length: 5 }, () => ({ type: 'status', status: 502 } as const)))
  await t.rejects(down.download(), { code: 'DOWNLOAD_HTTP_STATUS', details: { status: 502 } })
  t.strictSame(down.delays, [1000, 2000, 4000, 8000])
  t.equal(down.requests().length, 5)

  const patient = await arrange(t, { type: 'status', status: 429, headers: { 'retry-after': '61' } })
  await t.rejects(patient.download(), { code: 'DOWNLOAD_HTTP_STATUS', details: { status: 429, retryAfterMs: 61_000 } }, 'nobody waits a minute without being told')

  const missing = await arrange(t, { type: 'status', status: 404, headers: { 'x-error-code': 'EntryNotFound' } })
  await t.rejects(missing.download(), { code: 'DOWNLOAD_HTTP_STATUS', details: { status: 404, serverCode: 'EntryNotFound' } })
  t.strictSame(missing.delays, [])
})

t.test('no server is an error that names the host, after a few tries', async t => {
  const { server, download, delays } = await arrange(t)
  const { host } = new URL(server.origin)
  await server[Symbol.asyncDispose]()
  const retries: string[] = []
  await t.rejects(download({ onRetry: error => { retries.push(error.message) } }), { name: 'HostUnreachableError', code: 'DOWNLOAD_UNREACHABLE', message: new RegExp(`^${host} cannot be reached: .*ECONNREFUSED`) })
  t.equal(delays.length, 4)
  t.equal(retries.length, 4)
})

t.test('a server that falls silent is left, and asked again', async t => {
  const { destination, download, requests } = await arrange(t, { type: 'hold', afterBytes: 100_000 })
  await download({ stallTimeoutMs: 100 })
  t.ok(await isWhole(destination))
  t.equal(requests().length, 2)
})

t.test('a signal ends it, keeps what has arrived, and the next call goes on from there', async t => {
  const { destination, download, requests } = await arrange(t, { type: 'hold', afterBytes: 100_000 })
  const stop = new AbortController()
  await t.rejects(download({ signal: stop.signal, onProgress: done => { if (done === 100_000) stop.abort() } }), { code: 'DOWNLOAD_INTERRUPTED', details: { receivedBytes: 100_000 } })
  t.strictSame(await readdir(join(destination, '..')), ['file.bin.incomplete'], 'the lock is gone')
  await download()
  t.match(requests().at(-1), { range: 'bytes=100000-' })
  await t.rejects(download({ destination: `${destination}-2`, signal: stop.signal }), { code: 'DOWNLOAD_INTERRUPTED' }, 'before it began')
  t.equal(requests().length, 2)
})

t.test('a disk without room for the rest is told before anything is asked for', async t => {
  const { destination, download, requests } = await arrange(t)
  await download({ destination: `${destination}-other` })
  await writeFile(`${destination}.incomplete`, file.subarray(0, 100_000))
  const rest = file.length - 100_000
  await t.rejects(download({ expectedBytes: file.length, freeBytes: async () => rest - 1 }), { code: 'DOWNLOAD_DISK_FULL', details: { neededBytes: rest, freeBytes: rest - 1 } })
  t.equal(requests().length, 1)
  await t.rejects(download({ freeBytes: async () => rest - 1 }), { code: 'DOWNLOAD_DISK_FULL' }, 'the server tells the length')
  await download({ expectedBytes: file.length, freeBytes: async () => rest })
  t.ok(await isWhole(destination))
})

t.test('two calls for one file do the work once', async t => {
  const { destination, download, requests } = await arrange(t)
  let numWaits = 0
  const options = { sleep: async () => { await new Promise(resolve => setImmediate(resolve)) }, onWait: () => { numWaits += 1 } }
  await Promise.all([download(options), download(options), download(options)])
  t.ok(await isWhole(destination))
  t.equal(requests().length, 1)
  t.equal(numWaits, 2)
  t.strictSame(await readdir(join(destination, '..')), ['file.bin'])
})

t.test('whoever waits is told for whom, on which machine if it is another, and nothing of a lock that names nobody', async t => {
  t.equal(describeWait('some/model', { pid: 7, host: hostname() }), 'waiting for another daybreak (pid 7) that downloads some/model')
  t.equal(describeWait('some/model', { pid: 7, host: 'elsewhere' }), 'waiting for another daybreak (pid 7 on elsewhere) that downloads some/model')
  t.equal(describeWait('some/model', undefined), 'waiting for another daybreak that downloads some/model')

  const { destination, download } = await arrange(t)
  await download({ destination: `${destination}-other` })
  const lock = `${destination}.incomplete.lock`
  await writeFile(lock, '')
  const polls: number[] = []
  const told: number[] = []
  await download({
    onWait: holder => {
      t.equal(holder, undefined)
      told.push(polls.length)
    },
    sleep: async () => { if (polls.push(0) === 3) await rm(lock) }
  })
  t.strictSame(told, [1], 'at the second look: at the first it may just have been made')
})

t.test('the lock of a process that died is taken over, that of a living one is waited for', async t => {
  const { destination, download } = await arrange(t)
  await download({ destination: `${destination}-other` })
  const lock = `${destination}.incomplete.lock`
  let numPolls = 0
  const holders: unknown[] = []
  const holdBy = async (pid: number): Promise<void> => { await writeFile(lock, JSON.stringify({ pid, host: hostname(), nonce: 'x' })) }
  const options: Partial<DownloadRequest> = {
    onWait: holder => { holders.push(holder) },
    sleep: async () => {
      numPolls += 1
      if (numPolls === 3) await rm(lock)
    }
  }
  await holdBy(process.pid)
  await download(options)
  t.ok(await isWhole(destination))
  t.equal(numPolls, 3)
  t.strictSame(holders, [{ pid: process.pid, host: hostname() }], 'told once')

  // No process has an id this large: the kernel's limit is 2^22.
  await rm(destination)
  await holdBy(2 ** 22 + 1)
  const onWait = (): void => { t.fail('nobody is there to be waited for') }
  await download({ sleep: async () => {}, onWait })
  t.ok(await isWhole(destination))

  // Ids are used again: a lock that nobody renews has no holder, even if its id has.
  await rm(destination)
  await holdBy(process.pid)
  const longAgo = new Date(Date.now() - 3_600_000)
  await utimes(lock, longAgo, longAgo)
  await download({ sleep: async () => {}, onWait })
  t.ok(await isWhole(destination))
  t.strictSame((await readdir(join(destination, '..'))).sort(), ['file.bin', 'file.bin-other'])
})
