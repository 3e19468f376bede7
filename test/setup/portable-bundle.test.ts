import { execFile } from 'node:child_process'
import { cpSync, existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { bundleCode } from '../../deploy/portable/bundle-code.mjs'
import { copyPackages } from '../../deploy/portable/copy-packages.mjs'
import { projectRoot } from './project-files.ts'

const run = promisify(execFile)

t.test('the bundled program runs without the checkout, and finds its files where they lie in the bundle', async t => {
  // Outside the checkout, where no node_modules of ours could be found by accident.
  const folder = await mkdtemp(join(tmpdir(), 'daybreak-bundle-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))

  const { external } = await bundleCode(projectRoot.replace(/[\\/]$/, ''), folder)
  for (const entry of ['main', 'engine-process/main', 'text/tokenizer-worker', 'text/chat-template-worker']) {
    t.ok(existsSync(join(folder, 'apps', 'server', 'src', `${entry}.mjs`)), entry)
  }
  copyPackages(projectRoot, external, join(folder, 'node_modules'))
  for (const file of ['apps/server/package.json', 'models/daybreak-mini/tokenizer.json', 'models/daybreak-mini/tokenizer_config.json']) {
    cpSync(join(projectRoot, file), join(folder, file))
  }
  const main = join(folder, 'apps', 'server', 'src', 'main.mjs')
  const { stdout } = await run(process.execPath, [main, '--version'], { cwd: folder, env: {} })
  t.match(stdout, /^\d+\.\d+\.\d+\n$/)
  const help = await run(process.execPath, [main, 'serve', '--help'], { cwd: folder, env: {} })
  t.match(help.stdout, '--port')

  // A folder with a tokenizer and no weights: loading gets as far as the bundle's own models folder.
  const failed: { code?: unknown, stderr?: unknown } = await run(process.execPath, [main, 'serve', '--port', '0', '--log-level', 'silent'], { cwd: folder, env: {} }).then(() => ({}), error => error)
  t.equal(failed.code, 1)
  t.match(failed.stderr, join(folder, 'models', 'daybreak-mini'))
})

t.test('bundled tests run without the checkout, and say how many passed', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'daybreak-tests-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  // Two that need no device: one reads shaders, the other fixtures by way of the folder it lies in.
  await run(process.execPath, [join(projectRoot, 'deploy', 'portable', 'bundle-tests.mjs'), '--output', folder, 'test/engine/attention-plan.test.ts', 'test/engine/models/saved-configs.test.ts'], { env: {} })
  const { stdout } = await run(process.execPath, [join(folder, 'run-tests.mjs')], { cwd: tmpdir(), env: {} })
  t.match(stdout, /^test\/engine\/attention-plan\.test\.ts: [1-9]\d* passed, 0 failed, 0 skipped /m)
  t.match(stdout, /^test\/engine\/models\/saved-configs\.test\.ts: [1-9]\d* passed, 0 failed, 0 skipped /m)
  t.match(stdout, /^total: [1-9]\d* passed, 0 failed, 0 skipped$/m)

  const failed: { code?: unknown, stdout?: unknown } = await run(process.execPath, [join(folder, 'run-tests.mjs'), 'no such file'], { cwd: folder, env: {} }).then(() => ({}), error => error)
  t.equal(failed.code, 1, 'a run of nothing proves nothing')
})
