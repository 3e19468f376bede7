import { createHash } from 'node:crypto'
import { appendFile, copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { DEFAULT_MODEL, ModelNotFoundError, ModelVerificationError, resolveModel, verifyModelFiles } from '../../apps/server/src/models/index.ts'
import type { ModelAlias, ModelAliasContext } from '../../apps/server/src/models/index.ts'
import { FakeHub } from '../fakes/fake-hub.ts'
import { FakeProxy } from '../fakes/fake-proxy.ts'
import { FaultyFileServer } from '../fakes/faulty-file-server.ts'
import { temporaryFolder } from './temporary-folder.ts'

const embedded = fileURLToPath(new URL('../../models/daybreak-mini', import.meta.url))

/** A folder with the embedded model's small files, their sums and weights of our own. */
async function smallModel (t: Test) {
  const folder = await temporaryFolder(t)
  const directory = join(folder, 'small')
  await mkdir(directory)
  for (const name of ['config.json', 'tokenizer.json']) await copyFile(join(embedded, name), join(directory, name))
  return { folder, directory }
}

t.test('the default model is in the repository and every file is the one its hash describes', async t => {
  const model = await resolveModel(DEFAULT_MODEL)
  t.equal(model.id, 'daybreak-mini')
  t.equal(model.verified, true)
  const files = (await readdir(model.source.path)).filter(name => /\.(json|safetensors)$/.test(name) && name !== 'hashes.json')
  t.equal(await verifyModelFiles(model.source.path), files.length, 'no file without a hash')
})

t.test('a directory is a model under its own name, unverified without hashes', async t => {
  const { directory } = await smallModel(t)
  t.same(await resolveModel(directory), { id: 'small', source: { type: 'directory', path: directory }, verified: false })
  t.equal((await resolveModel(embedded)).verified, true, 'by path the hashes count as well')
})

t.test('a changed, cut or missing file is named', async t => {
  const { directory } = await smallModel(t)
  const hashes: unknown = JSON.parse(await readFile(join(embedded, 'hashes.json'), 'utf8'))
  const sums = Object.entries(hashes ?? {}).filter(([name]) => name === 'config.json' || name === 'tokenizer.json')
  await writeFile(join(directory, 'hashes.json'), JSON.stringify(Object.fromEntries(sums)))
  t.equal((await resolveModel(directory)).verified, true)

  await appendFile(join(directory, 'tokenizer.json'), ' ')
  await t.rejects(resolveModel(directory), { name: ModelVerificationError.name, code: 'MODEL_FILE_CORRUPT', details: { file: join(directory, 'tokenizer.json') } })
  await rm(join(directory, 'tokenizer.json'))
  await t.rejects(verifyModelFiles(directory), { code: 'MODEL_FILE_CORRUPT', details: { problem: 'missing' } })
})

t.test('a built-in model is not taken unverified: its hashes must be there and leave out nothing', async t => {
  const modelsFolder = await temporaryFolder(t)
  const directory = join(modelsFolder, 'daybreak-mini')
  await mkdir(directory)
  for (const name of ['config.json', 'tokenizer.json']) await copyFile(join(embedded, name), join(directory, name))
  const refusal = async (): Promise<unknown> => await resolveModel(DEFAULT_MODEL, { modelsFolder }).catch((error: unknown) => error)
  const hashes = join(directory, 'hashes.json')
  const sumOf = (text: string): string => createHash('sha256').update(text).digest('hex')
  const small = Object.fromEntries(await Promise.all(['config.json', 'tokenizer.json'].map(async name => [name, sumOf(await readFile(join(directory, name), 'utf8'))])))

  t.match(await refusal(), { code: 'MODEL_FILE_CORRUPT', details: { file: hashes, problem: 'missing' } })
  await writeFile(hashes, JSON.stringify(small))
  t.match(await refusal(), { code: 'MODEL_FILE_CORRUPT', details: { file: hashes, problem: 'lists no weights' } })
  const weights = join(directory, 'model.safetensors')
  await writeFile(weights, 'weights')
  t.match(await refusal(), { code: 'MODEL_FILE_CORRUPT', details: { file: weights } }, 'weights that nothing vouches for')
  t.equal((await resolveModel(directory)).id, 'daybreak-mini', 'by path, hashes stay the folder\'s own affair')
  await writeFile(hashes, JSON.stringify({ ...small, 'model.safetensors': sumOf('weights') }))
  t.match(await resolveModel(DEFAULT_MODEL, { modelsFolder }), { verified: true })
})

t.test('a list of hashes that is not one is refused, and reaches no file outside the folder', async t => {
  const { directory } = await smallModel(t)
  for (const list of ['[]', '{', '{"config.json":"short"}', `{"../x":"${'0'.repeat(64)}"}`]) {
    await writeFile(join(directory, 'hashes.json'), list)
    await t.rejects(verifyModelFiles(directory), { code: 'MODEL_FILE_CORRUPT', details: { file: join(directory, 'hashes.json') } }, list)
  }
})

t.test('a model that is not there says what would work', async t => {
  const folder = await temporaryFolder(t)
  for (const model of ['no-such-model', folder, join(embedded, 'config.json'), '', './daybreak-mini', 'constructor']) {
    await t.rejects(resolveModel(model), { name: ModelNotFoundError.name, code: 'MODEL_NOT_FOUND', message: /daybreak-mini.*config\.json, tokenizer\.json/ }, model)
  }
  await t.rejects(resolveModel(DEFAULT_MODEL, { modelsFolder: folder }), { code: 'MODEL_NOT_FOUND' }, 'a bundle\'s own folder is where it looks')
})

t.test('a .gguf file is a model under its own name', async t => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'small-Q8_0.GGUF')
  await writeFile(path, 'GGUF')
  const model = await resolveModel(path)
  t.same(model, { id: 'small-Q8_0.GGUF', source: { type: 'gguf', path }, verified: false })
})

t.test('owner/name is downloaded from the Hub, unless a path of that name exists', async t => {
  const hub = await FakeHub.start()
  t.teardown(async () => { await hub[Symbol.asyncDispose]() })
  hub.put('some/model', { commit: 'a'.repeat(40), files: { 'config.json': '{}', 'tokenizer.json': '{}', 'model.safetensors': 'weights' } })
  hub.put('some/gguf', { commit: 'b'.repeat(40), files: { 'm-Q8_0.gguf': 'GGUF' } })
  const env = hub.env(await temporaryFolder(t))
  t.match(await resolveModel('some/model@main', { env }), { id: 'some/model', source: { type: 'directory', path: new RegExp(`${'a'.repeat(40)}$`) } })
  t.match(await resolveModel('some/gguf:q8_0', { env }), { id: 'some/gguf:q8_0', source: { type: 'gguf', path: /m-Q8_0\.gguf$/ } })

  const numRequests = hub.requests.length
  // Relative to the working directory: the repository's root.
  t.match(await resolveModel('models/daybreak-mini', { env }), { id: 'daybreak-mini', verified: true })
  t.equal(hub.requests.length, numRequests)
  await t.rejects(resolveModel('models/no-such-model', { env }), { code: 'HUB_REPO_NOT_FOUND', message: /There is no path models\/no-such-model here/ })
})

t.test('an alias makes its model ready in its own folder; paths go before, and the list of what works names it', async t => {
  const home = await temporaryFolder(t)
  const contexts: ModelAliasContext[] = []
  const alias = (verified: boolean): ModelAlias => ({
    name: 'tiny-tales',
    description: 'a test',
    prepare: async context => {
      contexts.push(context)
      return { type: 'directory', path: context.folder, verified }
    }
  })
  const [proxy, server] = [await FakeProxy.start(), await FaultyFileServer.start()]
  t.teardown(async () => { await Promise.all([proxy[Symbol.asyncDispose](), server[Symbol.asyncDispose]()]) })
  const options = { aliases: [alias(true)], env: { DAYBREAK_CACHE_DIR: home, http_proxy: proxy.address } }
  const source = { type: 'directory', path: join(home, 'models', 'tiny-tales') }
  t.strictSame(await resolveModel('tiny-tales', options), { id: 'tiny-tales', source, verified: true })
  t.strictSame(await resolveModel('tiny-tales', { ...options, aliases: [alias(false)] }), { id: 'tiny-tales', source, verified: false })
  t.equal(contexts.length, 2)
  t.equal((await contexts[0]?.fetch(`${server.origin}/nothing`))?.status, 404)
  t.strictSame(proxy.requests, [`GET ${server.origin}/nothing`], 'what it fetches comes through the proxy')
  await t.rejects(resolveModel('tiny-tale', options), { code: 'MODEL_NOT_FOUND', message: /tiny-tales/, details: { aliases: ['tiny-tales'] } })
  await t.rejects(resolveModel('./tiny-tales', options), { code: 'MODEL_NOT_FOUND' })
})
