import { createHash } from 'node:crypto'
import { appendFile, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { DEFAULT_MODEL, ModelNotFoundError, ModelVerificationError, resolveModel, verifyModelFiles } from '../../apps/server/src/models/index.ts'

const embedded = fileURLToPath(new URL('../../models/daybreak-mini', import.meta.url))

async function temporaryFolder (t: { teardown (done: () => Promise<void>): void }) {
  const folder = await mkdtemp(join(tmpdir(), 'daybreak-models-'))
  t.teardown(async () => { await rm(folder, { recursive: true }) })
  return folder
}

/** A folder with the embedded model's small files, their sums and weights of our own. */
async function smallModel (t: { teardown (done: () => Promise<void>): void }) {
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
  const files = (await readdir(model.directory)).filter(name => /\.(json|safetensors)$/.test(name) && name !== 'hashes.json')
  t.equal(await verifyModelFiles(model.directory), files.length, 'no file without a hash')
})

t.test('a directory is a model under its own name, unverified without hashes', async t => {
  const { directory } = await smallModel(t)
  t.same(await resolveModel(directory), { id: 'small', directory, verified: false })
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
