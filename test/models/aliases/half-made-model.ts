/** A process that fetches a model, gets half through making it, says so, and waits: for a test to kill. Arguments: folder, tarball's URL. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { argv, stdout } from 'node:process'
import { packagedAlias } from '../../../apps/server/src/models/aliases/packaged-model.ts'
import { unwatched } from '../../../apps/server/src/models/download/index.ts'
import { npmOf, wordModel } from './word-model.ts'

const [folder = '', url = ''] = argv.slice(2)
const model = wordModel([url], async (_, directory) => {
  await writeFile(join(directory, 'words.txt'), 'Once upo')
  stdout.write('half\n')
  await new Promise(() => { setInterval(() => {}, 1000) })
})
await packagedAlias(model, { runNpm: npmOf([url]) }).prepare({ folder, env: {}, fetch: globalThis.fetch, progress: unwatched, signal: undefined })
