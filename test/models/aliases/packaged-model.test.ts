import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { packagedAlias } from '../../../apps/server/src/models/aliases/packaged-model.ts'
import type { PackagedModel } from '../../../apps/server/src/models/aliases/packaged-model.ts'
import type { RunNpm } from '../../../apps/server/src/models/aliases/package-registry.ts'
import type { PreparedModel } from '../../../apps/server/src/models/model-alias.ts'
import { FaultyFileServer } from '../../fakes/faulty-file-server.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { integrityOf, packageTarball } from './package-tarball.ts'
import { npmOf, TARBALLS, wordModel, WORDS } from './word-model.ts'
import { sourceFlags } from '../../fakes/source-flags.ts'

interface Overrides {
  readonly model?: PackagedModel
  readonly runNpm?: RunNpm
  readonly freeBytes?: number
  readonly signal?: AbortSignal
}

interface Arrangement {
  readonly server: FaultyFileServer
  readonly urls: readonly string[]
  /** The alias's own. */
  readonly folder: string
  readonly progress: Array<readonly [string, ...unknown[]]>
  readonly prepare: (overrides?: Overrides) => Promise<PreparedModel>
  readonly words: () => Promise<string>
}

async function arrange (t: Test): Promise<Arrangement> {
  const server = await FaultyFileServer.start()
  t.teardown(async () => { await server[Symbol.asyncDispose]() })
  const urls = TARBALLS.map((tarball, part) => server.put(`/words-${part}.tgz`, tarball))
  const folder = join(await temporaryFolder(t), 'models', 'words')
  const progress: Array<readonly [string, ...unknown[]]> = []
  return {
    server,
    urls,
    folder,
    progress,
    prepare: async ({ model = wordModel(urls), runNpm = npmOf(urls), freeBytes = Infinity, signal } = {}) =>
      await packagedAlias(model, { runNpm, sleep: async () => {}, freeBytes: async () => freeBytes }).prepare({
        folder,
        env: {},
        fetch: globalThis.fetch,
        signal,
        progress: {
          begin: (name, total) => { progress.push(['begin', name, total]) },
          update: done => { progress.push(['update', done]) },
          note: message => { progress.push(['note', message]) },
          end: () => { progress.push(['end']) }
        }
      }),
    words: async () => await readFile(join(folder, 'model', 'words.txt'), 'utf8')
  }
}

const noNpm: RunNpm = async () => { throw new Error('nobody may be asked') }

t.test('a model in two packages is fetched, unpacked and made, and nothing else is left', async t => {
  const { folder, prepare, progress, words } = await arrange(t)
  t.strictSame(await prepare(), { type: 'directory', path: join(folder, 'model'), verified: true })
  t.equal(await words(), WORDS.join(''))
  t.strictSame(await readdir(folder), ['model', 'model.verified.json'])
  const total = TARBALLS.reduce((sum, { length }) => sum + length, 0)
  t.strictSame(progress[0], ['begin', 'words', total])
  t.strictSame(progress.slice(-2), [['update', total], ['end']])
  const done = progress.filter(([call]) => call === 'update').map(([, bytes]) => Number(bytes))
  t.ok(done.every((bytes, i) => bytes >= (done[i - 1] ?? 0)), 'progress over both never goes back')
})

t.test('a second start asks nobody', async t => {
  const { server, prepare, progress } = await arrange(t)
  const first = await prepare()
  const numRequests = server.requests.length
  progress.length = 0
  t.strictSame(await prepare({ runNpm: noNpm }), first)
  t.equal(server.requests.length, numRequests)
  t.strictSame(progress, [])
})

t.test('a download that breaks goes on where it was, in the same start and in the next', async t => {
  const { server, prepare, words, progress } = await arrange(t)
  server.fail('/words-1.tgz', { type: 'cut', afterBytes: 40_000 }, { type: 'status', status: 404 })
  await t.rejects(prepare(), { code: 'DOWNLOAD_HTTP_STATUS', details: { status: 404 } })
  t.ok(progress.some(([call, message]) => call === 'note' && /trying again in 1 s/.test(String(message))))
  t.strictSame(progress.at(-1), ['end'], 'also when it fails')
  await prepare()
  t.equal(await words(), WORDS.join(''))
  t.equal(server.requestsOf('/words-0.tgz').length, 1, 'what was whole is not fetched again')
  const ranges = server.requestsOf('/words-1.tgz').map(({ range }) => range)
  t.equal(ranges.length, 3)
  t.match(ranges[1], /^bytes=[1-9]\d*-$/)
  t.equal(ranges[2], ranges[1])
})

t.test('a tarball that is not what the registry says is refused, and the next start fetches it anew', async t => {
  const { server, prepare, words, folder } = await arrange(t)
  server.fail('/words-0.tgz', { type: 'corrupt' })
  await t.rejects(prepare(), { code: 'DOWNLOAD_MISMATCH', details: { property: 'sha512' } })
  t.notOk(existsSync(join(folder, 'model')))
  await prepare()
  t.equal(await words(), WORDS.join(''))
})

t.test('a registry with another file of that name is refused, whatever it vouches for', async t => {
  const same = WORDS[0] ?? ''
  for (const [files, problem] of [
    [{ 'dist/words.part': same.replace('Once', 'Thus') }, /sha256 is [0-9a-f]{64}, not [0-9a-f]{64}/],
    [{ 'dist/words.part': same.slice(1) }, /has \d+ bytes, not \d+/],
    [{ 'dist/words': same, 'words.part': same }, /is missing/]
  ] as const) {
    const { server, urls, folder, prepare, words } = await arrange(t)
    const tarball = packageTarball(files)
    server.put('/words-0.tgz', tarball)
    const model = wordModel(urls)
    const lying = { ...model, files: model.files.map((file, part) => part === 0 ? { ...file, tarballBytes: tarball.length } : file) }
    const vouching = npmOf(urls, [tarball, TARBALLS[1] ?? tarball].map(integrityOf))
    await t.rejects(prepare({ model: lying, runNpm: vouching }), { name: 'PackageContentError', code: 'PACKAGE_CONTENT_WRONG', details: { package: 'words-0@1.0.0', file: 'dist/words.part', problem } })
    t.strictSame((await readdir(join(folder, 'model.incomplete'))).filter(name => name !== 'model'), [], 'nothing of it stays')
    server.put('/words-0.tgz', TARBALLS[0] ?? tarball)
    await prepare()
    t.equal(await words(), WORDS.join(''))
  }
})

t.test('a tarball that is none, or that ends or turns to nonsense within the file, is refused', async t => {
  const { server, urls, prepare } = await arrange(t)
  const whole = Buffer.from(TARBALLS[0] ?? [])
  const half = whole.length / 2
  const cut = packageTarball({ 'dist/words.part': WORDS[0] ?? '' }, 100_000)
  for (const bytes of [Buffer.alloc(whole.length, 'no tarball '), whole.subarray(0, half), Buffer.concat([whole.subarray(0, half), Buffer.alloc(half, 0xff)]), cut]) {
    server.put('/words-0.tgz', bytes)
    const model = wordModel(urls)
    const lying = { ...model, files: model.files.map(file => ({ ...file, tarballBytes: bytes.length })) }
    await t.rejects(prepare({ model: lying, runNpm: npmOf(urls, [integrityOf(bytes)]) }), { code: 'PACKAGE_CONTENT_WRONG', details: { problem: /cannot be read|is missing/ } })
  }
})

t.test('a process killed while it makes the model leaves none, and the next start needs no network', { timeout: 120_000 }, async t => {
  const { server, urls, folder, prepare, words } = await arrange(t)
  const script = fileURLToPath(new URL('half-made-model.ts', import.meta.url))
  const child = spawn(process.execPath, [...sourceFlags, script, folder, urls[0] ?? ''], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.strictSame(await once(createInterface({ input: child.stdout }), 'line'), ['half'])
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.ok(existsSync(join(folder, 'model.incomplete', 'model', 'words.txt')), 'half of it is there')
  t.notOk(existsSync(join(folder, 'model')))

  const numRequests = server.requests.length
  await prepare({ model: wordModel(urls.slice(0, 1)), runNpm: noNpm })
  t.equal(await words(), WORDS[0])
  t.equal(server.requests.length, numRequests)
  t.strictSame(await readdir(folder), ['model', 'model.verified.json'])
})

t.test('a model that was made but not yet put in its place is, without making it again', async t => {
  const { folder, prepare, words } = await arrange(t)
  const rebuilding: PackagedModel = { ...wordModel([]), build: async () => { throw new Error('made again') } }
  await prepare()
  await mkdir(join(folder, 'model.incomplete'))
  await rename(join(folder, 'model'), join(folder, 'model.incomplete', 'model'))
  await writeFile(join(folder, 'model.incomplete', 'file-1'), 'left over')
  await prepare({ model: rebuilding, runNpm: noNpm })
  t.equal(await words(), WORDS.join(''))
  t.strictSame(await readdir(folder), ['model', 'model.verified.json'])
  await mkdir(join(folder, 'model.incomplete'))
  await prepare({ model: rebuilding, runNpm: noNpm })
  t.strictSame(await readdir(folder), ['model', 'model.verified.json'], 'an empty workshop is cleared away')
})

t.test('a model whose files changed in the cache is made again, and it is said why', async t => {
  const { server, folder, prepare, words, progress } = await arrange(t)
  await prepare()
  await appendFile(join(folder, 'model', 'words.txt'), '!')
  t.match(await prepare(), { verified: true })
  t.equal(await words(), WORDS.join(''))
  t.equal(server.requestsOf('/words-0.tgz').length, 2)
  t.match(progress.filter(([call]) => call === 'note'), [['note', /^words is damaged in the cache \(.*words\.txt: sha256 is .*\); fetching it again$/]])
  await appendFile(join(folder, 'model', 'words.txt'), '?')
  await t.rejects(prepare({ runNpm: npmOf([]) }), { code: 'PACKAGE_LOOKUP_FAILED' }, 'it is not used without a network either')
  await prepare()
  await rm(join(folder, 'model', 'hashes.json'))
  await prepare()
  t.equal(server.requestsOf('/words-0.tgz').length, 4, 'without hashes nothing vouches for it')
})

t.test('two starts at once fetch once', async t => {
  const { server, prepare, words, progress } = await arrange(t)
  const [one, other] = await Promise.all([prepare(), prepare()])
  t.strictSame(one, other)
  t.strictSame(progress.filter(([call]) => call === 'note'), [['note', `waiting for another daybreak (pid ${process.pid}) that downloads words`]])
  t.equal(await words(), WORDS.join(''))
  t.equal(server.requests.length, 2)
})

t.test('a package that is gone, a full disk and an end by the user are errors of their own and leave no model', async t => {
  const { folder, prepare, words, server } = await arrange(t)
  await t.rejects(prepare({ runNpm: npmOf([]) }), { code: 'PACKAGE_LOOKUP_FAILED', details: { reason: 'not-found' } })
  await t.rejects(prepare({ freeBytes: 1000 }), { code: 'DOWNLOAD_DISK_FULL', details: { freeBytes: 1000 } })
  server.fail('/words-0.tgz', { type: 'hold', afterBytes: 1000 })
  const controller = new AbortController()
  const running = prepare({ signal: controller.signal })
  while (server.requestsOf('/words-0.tgz').every(({ sentBytes }) => sentBytes !== 1000)) await new Promise(resolve => { setImmediate(resolve) })
  controller.abort(new Error('enough'))
  await t.rejects(running, { code: 'DOWNLOAD_INTERRUPTED' })
  const stopping = new AbortController()
  const model = wordModel([], async (_, __, throwIfStopped) => {
    stopping.abort(new Error('enough'))
    throwIfStopped()
  })
  await t.rejects(prepare({ model, signal: stopping.signal }), { message: 'enough' })
  t.notOk(existsSync(join(folder, 'model')))
  await prepare()
  t.equal(await words(), WORDS.join(''))
})
