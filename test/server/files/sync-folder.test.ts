import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { syncFolder } from '../../../apps/server/src/files/index.ts'

t.test('a folder is written through, or the system does it in its own time', async t => {
  const folder = t.testdir({})
  await writeFile(join(folder, 'new'), 'text')
  await t.resolves(syncFolder(folder))
})

t.test('a folder that is not there is an error', async t => {
  await t.rejects(syncFolder(join(t.testdir({}), 'none')), { code: 'ENOENT' })
})
