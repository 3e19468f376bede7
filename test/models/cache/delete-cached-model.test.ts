import { mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { carryOut, listCachedModels, planDeletion } from '../../../apps/server/src/models/cache/index.ts'
import { sha256 } from '../../fakes/fake-hub.ts'
import { COMMIT, hubFixture, LATER_COMMIT, modelFiles, randomBytes, weights } from '../hub/hub-fixture.ts'

const laterConfig = '{"later":true}'

/** Two revisions of one model that have their weights in common, and another model. */
async function arrange (t: Test) {
  const { hub, home, resolve } = await hubFixture(t)
  await resolve(`some/model@${COMMIT}`)
  hub.put('some/model', { commit: LATER_COMMIT, refs: ['main', 'v2'], files: { ...modelFiles, 'config.json': laterConfig } })
  await resolve('some/model')
  await resolve('some/model@v2')
  hub.put('other/model-of-more', { commit: COMMIT, files: { ...modelFiles, 'model.safetensors': randomBytes(1234) } })
  await resolve('other/model-of-more')
  const folders = { hub: join(home, 'hub'), aliases: join(home, 'aliases') }
  return { folders, repo: join(home, 'hub', 'models--some--model'), resolve, hub, home }
}

t.test('every revision is listed by name with its size and what stands for it', async t => {
  const { folders, repo } = await arrange(t)
  const models = await listCachedModels(folders)
  t.strictSame(models.map(({ name, commit, missing }) => [name, commit, missing]).sort(), [
    ['other/model-of-more', COMMIT, []], ['some/model', COMMIT, []], ['some/model', LATER_COMMIT, []]
  ])
  const later = models.find(({ name, commit }) => name === 'some/model' && commit === LATER_COMMIT)
  t.strictSame([...later?.refs ?? []].sort(), ['main', 'v2'])
  t.equal(later?.path, join(repo, 'snapshots', LATER_COMMIT))
  t.ok((later?.bytes ?? 0) > weights.length && (later?.bytes ?? 0) < weights.length + 1000)
  t.strictSame(await listCachedModels({ hub: join(repo, 'nowhere'), aliases: join(repo, 'nowhere') }), [])
})

t.test('what is unfinished is listed as partial, with what it lacks', async t => {
  const { folders, repo, hub, resolve } = await arrange(t)
  await rm(join(repo, 'blobs', sha256(weights)))
  const lacking = (await listCachedModels(folders)).filter(({ name }) => name === 'some/model').map(({ missing }) => missing)
  t.strictSame(lacking, [['model.safetensors'], ['model.safetensors']])

  const large = randomBytes(100_000)
  hub.put('third/model', { commit: COMMIT, files: { 'm-F16.gguf': large } })
  hub.fail(large, { type: 'hold', afterBytes: 60_000 }, { type: 'status', status: 404 })
  await t.rejects(resolve('third/model', {}, { stallTimeoutMs: 500 }), { code: 'HUB_REPO_NOT_FOUND' })
  t.match((await listCachedModels(folders)).filter(({ name }) => name === 'third/model'), [{ commit: undefined, bytes: 60_000, missing: ['everything'] }])
  const deletion = await planDeletion('third/model', undefined, folders)
  t.equal(deletion.bytes, 60_000)
  await carryOut(deletion)
  t.strictSame((await readdir(folders.hub)).sort(), ['models--other--model-of-more', 'models--some--model'])
})

t.test('a file that somebody has put elsewhere and linked to is not deleted with the revision', async t => {
  const { folders, repo, home } = await arrange(t)
  const own = join(home, 'own.safetensors')
  await writeFile(own, weights)
  const link = join(repo, 'snapshots', COMMIT, 'model.safetensors')
  await rm(link)
  await symlink(own, link)
  for (const revision of [COMMIT, undefined]) {
    const deletion = await planDeletion('some/model', revision, folders)
    t.ok(deletion.bytes < 2 * weights.length, 'nor counted')
    await carryOut(deletion)
    t.equal((await stat(own)).size, weights.length)
  }
})

t.test('a model that is being downloaded is not deleted', async t => {
  const { folders, repo } = await arrange(t)
  const lock = join(repo, 'blobs', `${sha256(weights)}.daybreak.incomplete.lock`)
  await writeFile(lock, JSON.stringify({ pid: process.pid, host: hostname() }))
  await t.rejects(planDeletion('some/model', undefined, folders), { code: 'MODEL_IN_USE', message: new RegExp(`pid ${process.pid}`) })
  await t.rejects(planDeletion('some/model', 'v2', folders), { code: 'MODEL_IN_USE' })
  t.ok(await planDeletion('other/model-of-more', undefined, folders), 'another may go')
  await utimes(lock, 0, 0)
  await carryOut(await planDeletion('some/model', undefined, folders))
  await t.rejects(stat(repo), { code: 'ENOENT' })

  await mkdir(join(folders.aliases, 'short'), { recursive: true })
  await writeFile(join(folders.aliases, 'short', 'model.lock'), JSON.stringify({ pid: process.pid, host: hostname() }))
  await t.rejects(planDeletion('short', undefined, folders), { code: 'MODEL_IN_USE' })
})

t.test('deleting a revision keeps what another one uses', async t => {
  const { folders, repo } = await arrange(t)
  const deletion = await planDeletion('some/model', 'v2', folders)
  t.equal(deletion.bytes, laterConfig.length)
  await carryOut(deletion)
  t.strictSame(await readdir(join(repo, 'snapshots')), [COMMIT])
  t.strictSame(await readdir(join(repo, 'refs')), [], 'nothing stands for what is gone')
  t.ok(Buffer.from(weights).equals(await readFile(join(repo, 'snapshots', COMMIT, 'model.safetensors'))))

  const last = await planDeletion('some/model', COMMIT.slice(0, 7), folders)
  await carryOut(last)
  await t.rejects(stat(repo), { code: 'ENOENT' }, 'with the last revision everything goes')
  t.strictSame(await readdir(folders.hub), ['models--other--model-of-more'])
})

t.test('deleting without a revision takes all, and counts what they have in common once', async t => {
  const { folders, repo } = await arrange(t)
  const deletion = await planDeletion('some/model', undefined, folders)
  t.strictSame(deletion.paths, [repo])
  t.equal(deletion.models.length, 2)
  t.ok(deletion.bytes < weights.length + 2000)
})

t.test('what is not there cannot be deleted, and the names that are there are told', async t => {
  const { folders } = await arrange(t)
  for (const [name, revision] of [['some/mode', undefined], ['some/model', 'v3'], ['some/model', COMMIT.slice(0, 6)], ['some/model', 'f'.repeat(40)], ['..', undefined]] as const) {
    await t.rejects(planDeletion(name, revision, folders), { code: 'MODEL_NOT_CACHED', details: { cached: ['other/model-of-more', 'some/model'] } })
  }
})
