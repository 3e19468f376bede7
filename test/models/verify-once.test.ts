import { createHash } from 'node:crypto'
import { appendFile, chmod, copyFile, mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { verifyModelFiles } from '../../apps/server/src/models/verify-model-files.ts'
import { verifyOnce } from '../../apps/server/src/models/verify-once.ts'
import { temporaryFolder } from './temporary-folder.ts'

interface Arrangement {
  readonly directory: string
  readonly record: string
  readonly file: string
  readonly verify: () => Promise<boolean>
  /** Times that the files were hashed. */
  readonly numHashings: () => number
}

async function arrange (t: Test): Promise<Arrangement> {
  const folder = await temporaryFolder(t)
  const directory = join(folder, 'model')
  const file = join(directory, 'weights.bin')
  const record = join(folder, 'model.verified.json')
  await mkdir(directory)
  await writeFile(file, 'weights')
  await writeFile(join(directory, 'hashes.json'), JSON.stringify({ 'weights.bin': createHash('sha256').update('weights').digest('hex') }))
  let numHashings = 0
  const counting: typeof verifyModelFiles = async (...args) => {
    numHashings += 1
    return await verifyModelFiles(...args)
  }
  return { directory, record, file, verify: async () => await verifyOnce(directory, record, counting), numHashings: () => numHashings }
}

t.test('files that nothing was done to are hashed once', async t => {
  const { verify, numHashings } = await arrange(t)
  for (let i = 0; i < 3; i++) t.equal(await verify(), true)
  t.equal(numHashings(), 1)
})

t.test('whatever is done to a file has it hashed again, even if its size and time of writing stay', async t => {
  const { directory, file, verify, numHashings } = await arrange(t)
  await verify()
  const when = new Date(1_700_000_000_000)
  const changes: ReadonlyArray<() => Promise<void>> = [
    async () => { await utimes(file, when, when) },
    async () => { await chmod(file, 0o600) },
    async () => {
      await copyFile(file, `${file}.copy`)
      await rename(`${file}.copy`, file)
      await utimes(file, when, when)
    },
    async () => { await writeFile(join(directory, 'other.txt'), 'new') },
    async () => { await rm(join(directory, 'other.txt')) }
  ]
  for (const [i, change] of changes.entries()) {
    await change()
    t.equal(await verify(), true)
    t.equal(numHashings(), i + 2)
  }
  await writeFile(file, 'weighty')
  await utimes(file, when, when)
  await t.rejects(verify(), { code: 'MODEL_FILE_CORRUPT', details: { file } })
  await t.rejects(verify(), { code: 'MODEL_FILE_CORRUPT' }, 'a failure is not remembered as a success')
  await rm(file)
  await t.rejects(verify(), { code: 'MODEL_FILE_CORRUPT', details: { problem: 'missing' } })
})

t.test('a folder without hashes, or none at all, is not verified and leaves no record', async t => {
  const { directory, record, verify } = await arrange(t)
  await rm(join(directory, 'hashes.json'))
  t.equal(await verify(), false)
  await rm(directory, { recursive: true })
  t.equal(await verify(), false)
  await t.rejects(readFile(record), { code: 'ENOENT' })
})

t.test('a record that is damaged, or cannot be written, only costs another hashing', async t => {
  const { record, verify, numHashings } = await arrange(t)
  await verify()
  await appendFile(record, ' ')
  t.equal(await verify(), true)
  t.equal(numHashings(), 2)
  await rm(record)
  await mkdir(record)
  t.equal(await verify(), true)
  t.equal(await verify(), true)
  t.equal(numHashings(), 4)
})
