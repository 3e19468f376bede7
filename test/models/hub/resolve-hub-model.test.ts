import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { gitSha1, sha256 } from '../../fakes/fake-hub.ts'
import { COMMIT, hubFixture, LATER_COMMIT, modelFiles, randomBytes, weights } from './hub-fixture.ts'
import { sourceFlags } from '../../fakes/source-flags.ts'

const childScript = fileURLToPath(new URL('../../fakes/download-child.ts', import.meta.url))
const wantedFiles = ['chat_template.jinja', 'chat_template.json', 'config.json', 'generation_config.json', 'model.safetensors', 'special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json']
/** Files of the same content are one. */
const bytesOf = (names: readonly string[]): number => [...new Set(names.map(name => modelFiles[name]))].reduce((sum, content) => sum + (content?.length ?? 0), 0)
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

t.test('a model is downloaded into the layout that Python\'s huggingface_hub reads, and nothing that is not needed', async t => {
  const { hub, home, resolve, progress } = await hubFixture(t)
  const model = await resolve('some/model')
  const repo = join(home, 'hub', 'models--some--model')
  t.same(model, { type: 'directory', path: join(repo, 'snapshots', COMMIT), commit: COMMIT })
  t.strictSame((await readdir(model.path)).sort(), wantedFiles)
  t.equal(await readFile(join(repo, 'refs', 'main'), 'utf8'), COMMIT)
  t.equal(await readlink(join(model.path, 'model.safetensors')), `../../blobs/${sha256(weights)}`)
  t.equal(await readlink(join(model.path, 'config.json')), `../../blobs/${gitSha1(utf8(String(modelFiles['config.json'])))}`)
  t.ok(Buffer.from(weights).equals(await readFile(join(model.path, 'model.safetensors'))))
  t.strictSame((await readdir(join(repo, 'blobs'))).filter(name => !/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(name)), [], 'no locks, nothing unfinished')

  const totalBytes = bytesOf(wantedFiles)
  t.strictSame(progress[0], ['some/model', totalBytes])
  t.equal(progress.at(-1), totalBytes)

  const numRequests = hub.requests.length
  const numFiles = hub.cdn.requests.length
  t.same(await resolve('some/model'), model)
  t.notOk(hub.requests.slice(numRequests).some(request => request.includes('/resolve/')), 'whole files are not asked for again')
  t.equal(hub.cdn.requests.length, numFiles)
})

t.test('a model of several shards is what its index names', async t => {
  const { hub, resolve } = await hubFixture(t)
  const shards = [randomBytes(5000), randomBytes(6000)]
  const index = JSON.stringify({ metadata: {}, weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors', c: 'model-00001-of-00002.safetensors' } })
  const { 'model.safetensors': _, ...texts } = modelFiles
  const files = { ...texts, 'model.safetensors.index.json': index, 'model-00001-of-00002.safetensors': shards[0] ?? '', 'model-00002-of-00002.safetensors': shards[1] ?? '', 'other.safetensors': 'no' }
  hub.put('some/shards', { commit: COMMIT, files })
  const { path } = await resolve('some/shards')
  t.strictSame((await readdir(path)).filter(name => name.includes('safetensors')).sort(), ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json'])
  await rm(join(path, 'model-00002-of-00002.safetensors'))
  await t.rejects(resolve('some/shards', { HF_HUB_OFFLINE: '1' }), { code: 'HUB_NOT_IN_CACHE', message: /it lacks model-00002-of-00002\.safetensors/ })

  hub.put('some/half', { commit: COMMIT, files: { ...texts, 'model.safetensors.index.json': index, 'model-00001-of-00002.safetensors': 'x' } })
  await t.rejects(resolve('some/half'), { code: 'HUB_UNUSABLE_MODEL', message: /names model-00002-of-00002\.safetensors, which is not there/ })
})

t.test('a process that is killed in mid-download leaves what the next one needs not ask for again', async t => {
  const { hub, home, resolve } = await hubFixture(t)
  hub.fail(weights, { type: 'hold', afterBytes: 120_000 })
  const child = spawn(process.execPath, [...sourceFlags, childScript, 'some/model', JSON.stringify(hub.env(home))], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const small = bytesOf(wantedFiles.filter(name => name !== 'model.safetensors'))
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === `bytes ${small + 120_000}`) child.kill('SIGKILL')
  }
  t.strictSame(await exited, [null, 'SIGKILL'])
  const blob = join(home, 'hub', 'models--some--model', 'blobs', sha256(weights))
  t.equal((await stat(`${blob}.daybreak.incomplete`)).size, 120_000)
  await t.rejects(resolve('some/model', { HF_HUB_OFFLINE: '1' }), { code: 'HUB_NOT_IN_CACHE' })

  const { path } = await resolve('some/model')
  t.ok(Buffer.from(weights).equals(await readFile(join(path, 'model.safetensors'))))
  t.match(hub.cdn.requests.at(-1), { range: 'bytes=120000-', status: 206, sentBytes: 80_000 })
  t.equal(hub.cdn.requests.length, 2)
  t.notOk((await readdir(dirname(blob))).some(name => name.includes('incomplete')))
})

t.test('who finds another process at the same model says so once, and goes on where that one ends', async t => {
  const { hub, home, resolve, notes } = await hubFixture(t)
  const more = [randomBytes(70_000), randomBytes(80_000)]
  const names = ['model-00001-of-00003.safetensors', 'model-00002-of-00003.safetensors', 'model-00003-of-00003.safetensors']
  const { 'model.safetensors': _, ...texts } = modelFiles
  const index = JSON.stringify({ weight_map: Object.fromEntries(names.map((name, i) => [`t${i}`, name])) })
  const shards = [weights, ...more]
  hub.put('some/shards', { commit: COMMIT, files: { ...texts, 'model.safetensors.index.json': index, ...Object.fromEntries(names.map((name, i) => [name, shards[i] ?? ''])) } })
  for (const shard of shards) hub.fail(shard, { type: 'hold', afterBytes: 60_000 })
  const child = spawn(process.execPath, [...sourceFlags, childScript, 'some/shards', JSON.stringify(hub.env(home))], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const small = bytesOf(wantedFiles.filter(name => name !== 'model.safetensors'))
  await new Promise<void>(resolve => {
    createInterface({ input: child.stdout }).on('line', line => { if (line === `bytes ${small + 180_000}`) resolve() })
  })
  let numPolls = 0
  const { path } = await resolve('some/shards', {}, {
    sleep: async () => {
      numPolls += 1
      if (numPolls !== 10) return
      child.kill('SIGKILL')
      await exited
    }
  })
  t.strictSame(notes, [`waiting for another daybreak (pid ${child.pid}) that downloads some/shards`])
  for (const [i, name] of names.entries()) t.ok(Buffer.from(shards[i] ?? '').equals(await readFile(join(path, name))), name)
  t.strictSame(hub.cdn.requests.slice(3).map(({ range }) => range), ['bytes=60000-', 'bytes=60000-', 'bytes=60000-'])
})

t.test('a file that is not what its name in the cache says is an error, and does not stay', async t => {
  const { hub, home, resolve } = await hubFixture(t)
  hub.fail(weights, { type: 'corrupt' })
  await t.rejects(resolve('some/model'), { code: 'HUB_FAILED', message: /sha256/, cause: { code: 'DOWNLOAD_MISMATCH' } })
  const repo = join(home, 'hub', 'models--some--model')
  t.notOk((await readdir(join(repo, 'blobs'))).some(name => name.startsWith(sha256(weights))))
  await t.rejects(stat(join(repo, 'refs', 'main')), { code: 'ENOENT' }, 'nothing stands for what is not whole')
  await resolve('some/model')
})

t.test('a revision is a branch, a tag, a pull request or a commit, and each is kept', async t => {
  const { hub, home, resolve, notes } = await hubFixture(t)
  hub.put('some/model', { commit: LATER_COMMIT, refs: ['main', 'v2', 'refs/pr/1'], files: { ...modelFiles, 'config.json': '{"later":true}' } })
  const repo = join(home, 'hub', 'models--some--model')
  for (const revision of ['v2', 'refs/pr/1', LATER_COMMIT]) t.equal((await resolve(`some/model@${revision}`)).commit, LATER_COMMIT, revision)
  t.equal(await readFile(join(repo, 'refs', 'refs', 'pr', '1'), 'utf8'), LATER_COMMIT)
  t.equal((await resolve(`some/model@${COMMIT}`)).commit, COMMIT)
  t.equal((await lstat(join(repo, 'snapshots', COMMIT, 'model.safetensors'))).isSymbolicLink(), true)
  t.equal(hub.cdn.requests.length, 1, 'one blob for both')
  await t.rejects(resolve('some/model@nowhere'), { code: 'HUB_REVISION_NOT_FOUND', message: /no revision "nowhere": http.*\/some\/model\/tree\/main/ })

  const numRequests = hub.requests.length
  await resolve(`some/model@${COMMIT}`)
  t.equal(hub.requests.length, numRequests, 'a commit that is whole needs no question')
  t.strictSame(notes, [])
})

t.test('a gated model says where to accept its licence; with the token it comes, and the token goes to the Hub only', async t => {
  const { hub, resolve, home } = await hubFixture(t)
  hub.put('some/gated', { commit: COMMIT, files: modelFiles, token: 'hf_right', isGated: true })
  const message = new RegExp(`^some/gated is gated: accept its licence at ${hub.endpoint}/some/gated, then set HF_TOKEN`)
  await t.rejects(resolve('some/gated'), { code: 'HUB_GATED', message })
  await t.rejects(resolve('some/gated', { HF_TOKEN: 'hf_wrong' }), { code: 'HUB_GATED', message: /use a token of that account/ })
  await writeFile(join(home, 'token'), 'hf_right\n')
  await resolve('some/gated')
  t.ok(hub.cdn.requests.length > 0)
  t.ok(hub.cdn.requests.every(({ authorization }) => authorization === undefined))
})

t.test('a model that is private or not there, and a token that is none, say so', async t => {
  const { hub, resolve } = await hubFixture(t)
  hub.put('some/private', { commit: COMMIT, files: modelFiles, token: 'any-form' })
  await t.rejects(resolve('some/private'), { code: 'HUB_REPO_NOT_FOUND', message: /private.*set HF_TOKEN/ })
  await t.rejects(resolve('no/model'), { code: 'HUB_REPO_NOT_FOUND' })
  await t.rejects(resolve('no/model', { HF_TOKEN: 'any-form' }), { code: 'HUB_REPO_NOT_FOUND', message: /that the token may read it/ })
  await resolve('some/private', { HF_TOKEN: 'any-form' })
  hub.failures.push(401)
  await t.rejects(resolve('some/other', { HF_TOKEN: 'hf_expired' }), { code: 'HUB_TOKEN_REFUSED' })
})

t.test('a Hub that is overloaded is asked again, one that stays down is an error', async t => {
  const { hub, resolve } = await hubFixture(t)
  hub.failures.push(503, 429)
  await resolve('some/model')
  hub.failures.push(500, 500, 500, 500, 500)
  await t.rejects(resolve('some/other'), { code: 'HUB_FAILED', message: /HTTP status 500/ })
})

t.test('without a network a whole model comes from the cache with a note, and one that is not there is an error', async t => {
  const { hub, resolve, notes, home } = await hubFixture(t)
  const model = await resolve('some/model')
  await hub.stop()
  t.same(await resolve('some/model'), model)
  t.match(notes, [/127\.0\.0\.1:\d+ cannot be reached: .*\. Using some\/model from the cache, commit 0123456789ab$/])
  await t.rejects(resolve('some/other'), { code: 'HUB_UNREACHABLE', message: /^some\/other: 127.* HF_ENDPOINT/ })
  await rm(join(home, 'hub', 'models--some--model', 'blobs', sha256(weights)))
  await t.rejects(resolve('some/model'), { code: 'HUB_UNREACHABLE' }, 'a link without its blob is no file')
})

t.test('offline, nothing is asked, and what is missing is said', async t => {
  const { hub, resolve, home } = await hubFixture(t)
  const offline = { HF_HUB_OFFLINE: '1' }
  await t.rejects(resolve('some/model', offline), { code: 'HUB_NOT_IN_CACHE', message: /never downloaded.*HF_HUB_OFFLINE/ })
  t.equal(hub.requests.length, 0)

  // As Python leaves it after AutoConfig and AutoTokenizer alone.
  const repo = join(home, 'hub', 'models--some--model')
  const snapshot = join(repo, 'snapshots', COMMIT)
  await mkdir(join(repo, 'blobs'), { recursive: true })
  await mkdir(join(repo, 'refs'), { recursive: true })
  await mkdir(snapshot, { recursive: true })
  await writeFile(join(repo, 'refs', 'main'), COMMIT)
  for (const name of ['config.json', 'tokenizer.json']) {
    await writeFile(join(repo, 'blobs', gitSha1(utf8(String(modelFiles[name])))), String(modelFiles[name]))
    await symlink(`../../blobs/${gitSha1(utf8(String(modelFiles[name])))}`, join(snapshot, name))
  }
  await t.rejects(resolve('some/model', offline), { code: 'HUB_NOT_IN_CACHE', message: /it lacks model\.safetensors/ })
  await writeFile(join(repo, 'blobs', sha256(weights)), weights)
  await symlink(`../../blobs/${sha256(weights)}`, join(snapshot, 'model.safetensors'))
  t.same(await resolve('some/model', offline), { type: 'directory', path: snapshot, commit: COMMIT })
  t.equal(hub.requests.length, 0)
  await resolve('some/model')
  t.equal(hub.cdn.requests.length, 0, 'what Python downloaded is not downloaded again')
})

t.test('weights that cannot be read, and a tokenizer that is not there, are told before anything is downloaded', async t => {
  const { hub, resolve } = await hubFixture(t)
  const { 'model.safetensors': _, 'consolidated.safetensors': _also, ...pickled } = modelFiles
  hub.put('some/pickled', { commit: COMMIT, files: pickled })
  await t.rejects(resolve('some/pickled'), { code: 'HUB_UNUSABLE_MODEL', message: /neither model\.safetensors nor .*only pytorch_model\.bin.*can carry code/ })
  const { 'tokenizer.json': _too, ...slow } = modelFiles
  hub.put('some/slow', { commit: COMMIT, files: slow })
  await t.rejects(resolve('some/slow'), { code: 'HUB_UNUSABLE_MODEL', message: /no tokenizer\.json \(tokenizer\.model alone does not do/ })
  await t.rejects(resolve('some/model:Q4_K_M'), { code: 'HUB_UNUSABLE_MODEL', message: /no GGUF file/ })
  t.notOk(hub.requests.some(request => request.includes('/resolve/')))
})

t.test('of a GGUF repository one file comes: the one asked for, else Q4_K_M, with all its parts', async t => {
  const { hub, resolve } = await hubFixture(t)
  hub.put('some/gguf', {
    commit: COMMIT,
    files: { 'm-Q4_K_M.gguf': 'a', 'm-Q8_0.gguf': 'b', 'big/m-F16-00001-of-00002.gguf': 'c', 'big/m-F16-00002-of-00002.gguf': 'd', 'cut-Q2_K-00001-of-00002.gguf': 'e', 'mmproj-m.gguf': 'f', 'config.json': '{}' }
  })
  const downloaded = async (name: string): Promise<string> => await readFile((await resolve(name)).path, 'utf8')
  t.equal(await downloaded('some/gguf'), 'a')
  t.equal(await downloaded('some/gguf:q8_0'), 'b')
  t.equal(await downloaded(`some/gguf@${COMMIT}:m-Q8_0.gguf`), 'b')
  t.equal(hub.cdn.requests.length, 2)
  const split = await resolve('some/gguf:F16')
  t.match(split, { type: 'gguf', path: /big\/m-F16-00001-of-00002\.gguf$/ })
  t.equal(await readFile(split.path.replace('00001-of', '00002-of'), 'utf8'), 'd')
  t.equal(await readlink(split.path), `../../../blobs/${sha256(utf8('c'))}`)
  await t.rejects(resolve('some/gguf:Q5_K_M'), { code: 'HUB_GGUF_CHOICE', message: /none of its GGUF files is "Q5_K_M".*m-Q4_K_M, m-Q8_0/, details: { choices: ['big/m-F16', 'cut-Q2_K', 'm-Q4_K_M', 'm-Q8_0'] } })
  await t.rejects(resolve('some/gguf:Q2_K'), { code: 'HUB_UNUSABLE_MODEL', message: /2 parts and 1/ })

  await hub.stop()
  t.equal(await downloaded('some/gguf:Q8_0'), 'b', 'without a network as well')
  await t.rejects(resolve('some/gguf:Q2_K'), { code: 'HUB_UNREACHABLE' })
})

t.test('a disk without room for the whole model is told before anything is downloaded', async t => {
  const { hub, resolve } = await hubFixture(t)
  await t.rejects(resolve('some/model', {}, { freeBytes: async () => weights.length }), { code: 'DOWNLOAD_DISK_FULL', message: /HF_HOME/ })
  t.notOk(hub.requests.some(request => request.includes('/resolve/')))
})

t.test('a revision that shares its weights with one that is there needs room, and time, for what is new only', async t => {
  const { hub, resolve, progress } = await hubFixture(t)
  await resolve('some/model')
  const config = '{"later":true}'
  hub.put('some/model', { commit: LATER_COMMIT, files: { ...modelFiles, 'config.json': config } })
  const { commit } = await resolve('some/model', {}, { freeBytes: async () => config.length })
  t.equal(commit, LATER_COMMIT)
  t.equal(hub.cdn.requests.length, 1)
  progress.length = 0
  await rm(join((await resolve('some/model')).path, 'model.safetensors'))
  t.equal((await resolve('some/model', {}, { freeBytes: async () => 0 })).commit, LATER_COMMIT)
  t.strictSame(progress, [], 'a link is no download')
})

t.test('without a place for the newest revision the one that is there is taken with a note', async t => {
  const { hub, resolve, notes } = await hubFixture(t)
  await resolve('some/model')
  hub.put('some/model', { commit: LATER_COMMIT, files: { ...modelFiles, 'config.json': '{"later":true}' } })
  t.equal((await resolve('some/model', {}, { freeBytes: async () => 0 })).commit, COMMIT)
  t.match(notes.at(-1), /are free.* Using some\/model from the cache/)
  const link = async (): Promise<void> => { throw Object.assign(new Error('read-only file system'), { code: 'EROFS' }) }
  t.equal((await resolve('some/model', {}, { link })).commit, COMMIT)
  t.match(notes.at(-1), /read-only file system\. Using some\/model from the cache/)
  hub.put('other/model', { commit: LATER_COMMIT, files: { ...modelFiles, 'config.json': '{}' } })
  await t.rejects(resolve('other/model', {}, { link }), { code: 'EROFS' })
})

t.test('who ends it while the Hub is asked has ended it, whatever the cache has', async t => {
  const { hub, resolve } = await hubFixture(t)
  await resolve('some/model')
  await t.rejects(resolve('some/model', {}, { signal: AbortSignal.abort() }), { code: 'DOWNLOAD_INTERRUPTED' })
  hub.failures.push(503)
  const ended = new AbortController()
  const sleep = async (_: number, signal: AbortSignal | undefined): Promise<void> => {
    ended.abort()
    signal?.throwIfAborted()
  }
  await t.rejects(resolve('some/model', {}, { signal: ended.signal, sleep }), { code: 'DOWNLOAD_INTERRUPTED' })
})

t.test('where the system has no symbolic links the files themselves are in the snapshot', async t => {
  const { hub, resolve } = await hubFixture(t)
  const link = async (): Promise<void> => { throw Object.assign(new Error('not permitted'), { code: 'EPERM' }) }
  const { path } = await resolve('some/model', {}, { link })
  for (const name of wantedFiles) t.equal((await lstat(join(path, name))).isFile(), true, name)
  t.ok(Buffer.from(weights).equals(await readFile(join(path, 'model.safetensors'))))
  await resolve('some/model', {}, { link })
  t.equal(hub.cdn.requests.length, 1)
})

t.test('a list of files that would leave the cache, or is none, does no harm', async t => {
  const { hub, home, resolve } = await hubFixture(t)
  hub.put('evil/model', { commit: COMMIT, files: { ...modelFiles, '../../../../escaped.json': 'x' } })
  await resolve('evil/model')
  t.strictSame(await readdir(home), ['hub'])
  hub.put('evil/commit', { commit: '../../x', files: modelFiles })
  await t.rejects(resolve('evil/commit'), { code: 'HUB_ANSWER_MALFORMED' })
})
