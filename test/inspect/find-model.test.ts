import { access, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { findModel } from '../../apps/server/src/inspect/find-model.ts'
import { registerInspectCommand } from '../../apps/server/src/inspect/inspect-command.ts'
import { unwatched } from '../../apps/server/src/models/download/index.ts'
import { HubError } from '../../apps/server/src/models/hub/index.ts'
import { resolveModel } from '../../apps/server/src/models/index.ts'
import type { ModelAlias } from '../../apps/server/src/models/index.ts'
import { FakeHub } from '../fakes/fake-hub.ts'
import { runRecorded } from '../fakes/recorded-command.ts'
import { temporaryFolder } from '../models/temporary-folder.ts'
import { largeRepoFiles } from './inspected-models.ts'

const COMMIT = 'd'.repeat(40)
const FIRST_MEBIBYTE = 'bytes=0-1048575'

async function arrange (t: Test, files: Readonly<Record<string, Uint8Array | string>>) {
  const hub = await FakeHub.start()
  t.teardown(async () => { await hub[Symbol.asyncDispose]() })
  hub.put('some/model', { commit: COMMIT, files })
  const home = await temporaryFolder(t)
  const env = { ...hub.env(join(home, 'hf')), DAYBREAK_CACHE_DIR: join(home, 'daybreak') }
  const totalBytes = Object.values(files).reduce((sum, { length }) => sum + length, 0)
  return { hub, home, env, totalBytes, find: async (name: string) => await findModel(name, { env, progress: unwatched, aliases: [] }) }
}

t.test('of a model on the Hub no more than the headers of its weights is fetched, and nothing of it stays', async t => {
  const { hub, home, env, totalBytes, find } = await arrange(t, await largeRepoFiles())
  const model = await find('some/model')
  t.equal(model.id, 'some/model')
  t.equal(model.downloadBytes, totalBytes)
  t.strictSame(hub.cdn.requests.map(({ range, status }) => [range, status]), [[FIRST_MEBIBYTE, 206], [FIRST_MEBIBYTE, 206]])
  t.ok(hub.cdn.requests.every(({ sentBytes }) => sentBytes <= 1 << 20))
  const shard = join(model.source.path, 'model-00002-of-00002.safetensors')
  t.ok((await stat(shard)).size > 2 << 20, 'it has its length')
  await model[Symbol.asyncDispose]()
  await t.rejects(access(model.source.path), { code: 'ENOENT' })
  t.strictSame(await readdir(home), [], 'the caches are untouched')

  const command = runRecorded(['inspect', 'some/model@main', '--no-adapter'], [registerInspectCommand], env)
  await command.done
  t.equal(command.stderr, 'downloading some/model (headers only)\n')
  t.match(command.stdout, /^some\/model \(on the Hub, 4\.\d MiB to download\)\n/)
  t.match(command.stdout, /^ {2}stored as {6}F32 \(21 tensors, 4\.0 MiB\)$/m)
  t.strictSame(await readdir(home), [])
})

t.test('a longer header is fetched whole, from a server that knows no ranges too', async t => {
  const { hub, find } = await arrange(t, await largeRepoFiles(3 << 19))
  const header = `bytes=0-${8 + (3 << 19) - 1}`
  await using model = await find('some/model')
  t.strictSame(hub.cdn.requests.map(({ range }) => range).sort(), [FIRST_MEBIBYTE, FIRST_MEBIBYTE, header, header])
  t.equal(model.source.type, 'directory')

  const files = await largeRepoFiles()
  const old = await arrange(t, files)
  for (const bytes of Object.values(files)) old.hub.fail(bytes, { type: 'ignore-range' })
  await using other = await old.find('some/model')
  t.equal((await stat(join(other.source.path, 'model-00001-of-00002.safetensors'))).size, files['model-00001-of-00002.safetensors']?.length)
})

t.test('a model in the cache is taken from there', async t => {
  const { hub, env, find } = await arrange(t, await largeRepoFiles())
  const { source } = await resolveModel('some/model', { env })
  const numRequests = hub.requests.length
  await using model = await find('some/model')
  t.strictSame(model.source, source)
  t.equal(model.downloadBytes, undefined)
  t.equal(hub.requests.length, numRequests, 'the Hub is not asked')
})

t.test('a GGUF model on the Hub has to be downloaded first, and it is said how', async t => {
  const { hub, find } = await arrange(t, { 'model-Q4_K_M.gguf': new Uint8Array(3000), 'model-Q8_0.gguf': new Uint8Array(5000) })
  await t.rejects(find('some/model:q8_0'), new HubError('HUB_NOT_IN_CACHE',
    'some/model:q8_0 is not in the cache. To be inspected, a GGUF model (model-Q8_0, 4.9 KiB) has to be here whole: daybreak models download some/model:q8_0',
    { repo: 'some/model', revision: 'main', file: 'q8_0', bytes: 5000 }))
  await t.rejects(find('some/model:Q2_K'), { code: 'HUB_GGUF_CHOICE' })
  t.strictSame(hub.cdn.requests, [])
})

t.test('what cannot be had is refused as serving would refuse it', async t => {
  const { hub, env, find } = await arrange(t, { 'config.json': '{}', 'tokenizer.json': '{}', 'pytorch_model.bin': 'pickle' })
  await t.rejects(find('some/model'), { code: 'HUB_UNUSABLE_MODEL' })
  await t.rejects(find('no/model'), { code: 'HUB_REPO_NOT_FOUND' })
  await t.rejects(findModel('some/model', { env: { ...env, HF_HUB_OFFLINE: '1' }, progress: unwatched }), { code: 'HUB_NOT_IN_CACHE', message: /HF_HUB_OFFLINE/ })
  await hub.stop()
  await t.rejects(find('some/model'), { code: 'HUB_UNREACHABLE' })
})

t.test('an alias is fetched as serving it fetches it', async t => {
  const { home, env } = await arrange(t, {})
  const alias: ModelAlias = { name: 'short', description: 'a test', prepare: async ({ folder }) => ({ type: 'gguf', path: join(folder, 'model.gguf'), verified: false }) }
  await using model = await findModel('short', { env, progress: unwatched, aliases: [alias] })
  t.match(model, { id: 'short', source: { type: 'gguf', path: join(home, 'daybreak', 'models', 'short', 'model.gguf') }, downloadBytes: undefined })
})
