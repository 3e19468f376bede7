import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { locatePackage, npmClient } from '../../../apps/server/src/models/aliases/package-registry.ts'
import type { ProgramResult } from '../../../apps/server/src/models/aliases/package-registry.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { integrityOf } from './package-tarball.ts'

const URL = 'http://registry.test/a/-/a-1.0.0.tgz'
const INTEGRITY = integrityOf(Buffer.from('tarball'))
const SHA512 = Buffer.from(INTEGRITY.slice('sha512-'.length), 'base64').toString('hex')

const locate = async (result: ProgramResult, seen: string[][] = []): Promise<unknown> =>
  await locatePackage('a@1.0.0', async args => {
    seen.push([...args])
    return result
  })
const answering = (answer: unknown, exitCode = 0): ProgramResult => ({ exitCode, stdout: JSON.stringify(answer) })

t.test('npm is asked for one exact version, and its answer is where the tarball lies and its hash in hex', async t => {
  const seen: string[][] = []
  t.strictSame(await locate(answering({ 'dist.tarball': URL, 'dist.integrity': INTEGRITY }), seen), { url: URL, sha512: SHA512 })
  t.strictSame(seen, [['view', 'a@1.0.0', 'dist.tarball', 'dist.integrity', '--json']])
  t.match(await locate(answering({ 'dist.tarball': URL, 'dist.integrity': `sha1-abc= ${INTEGRITY}` })), { sha512: SHA512 }, 'among others')
  t.strictSame(await locate(answering({ 'dist.tarball': URL, 'dist.integrity': 'sha1-abc=' })), { url: URL, sha512: undefined })
  t.strictSame(await locate(answering({ 'dist.tarball': URL })), { url: URL, sha512: undefined })
})

t.test('what keeps npm from answering is said in plain words', async t => {
  const failed = (code: string | undefined): ProgramResult => answering({ error: { code, summary: 'a summary' } }, 1)
  for (const [result, details] of [
    [{ failure: 'missing' }, { reason: 'npm-missing', problem: /comes with Node/ }],
    [{ failure: 'timeout' }, { reason: 'unreachable', problem: /no answer within 60 seconds/ }],
    [failed('E404'), { reason: 'not-found' }],
    [failed('ETARGET'), { reason: 'not-found' }],
    [failed('ENOTFOUND'), { reason: 'unreachable', problem: /\(ENOTFOUND\).*network/ }],
    [failed('ECONNREFUSED'), { reason: 'unreachable' }],
    [failed('EAI_AGAIN'), { reason: 'unreachable' }],
    [failed('E401'), { reason: 'failed', problem: /E401: a summary/ }],
    [failed(undefined), { reason: 'failed', problem: /exit code 1: a summary/ }],
    [{ exitCode: 7, stdout: 'no JSON' }, { reason: 'failed', problem: /exit code 7/ }],
    [answering({}), { reason: 'failed', problem: /no location/ }],
    [answering({ 'dist.tarball': 'file:///etc/passwd' }), { reason: 'failed', problem: /no location/ }],
    [{ exitCode: 0, stdout: '' }, { reason: 'failed', problem: /no location/ }]
  ] as const) {
    await t.rejects(locate(result), { name: 'PackageLookupError', code: 'PACKAGE_LOOKUP_FAILED', details: { package: 'a@1.0.0', ...details } }, JSON.stringify(result))
  }
})

t.test('the npm on the search path runs with the user\'s variables', { skip: process.platform === 'win32' && 'the stand-in is a shell script' }, async t => {
  const folder = await temporaryFolder(t)
  const program = join(folder, 'npm')
  const standIn = async (script: string): Promise<void> => {
    await writeFile(program, `#!/bin/sh\n${script}\n`)
    await chmod(program, 0o755)
  }
  await standIn('echo "$*|$npm_config_registry|$npm_config_fetch_retries"; exit 3')
  const npm = npmClient({ PATH: `${folder}:/bin:/usr/bin`, npm_config_registry: 'http://mirror.test' })
  t.strictSame(await npm(['view', 'a b'], undefined), { exitCode: 3, stdout: 'view a b|http://mirror.test|1\n' })

  await standIn('sleep 100')
  const controller = new AbortController()
  const running = locatePackage('a@1.0.0', npm, controller.signal)
  controller.abort(new Error('enough'))
  await t.rejects(running, { message: 'enough' })
})

t.test('without npm anywhere that is what is said', { skip: process.platform === 'win32' && 'PATH has another name there' }, async t => {
  const folder = await temporaryFolder(t)
  // The folder of the running Node is searched as well; an npm there is told from none by what it finds.
  const result = await npmClient({ PATH: folder })(['--version'], undefined)
  t.ok('failure' in result ? result.failure === 'missing' : result.exitCode === 0 || /node/.test(result.stdout), JSON.stringify(result))
})
