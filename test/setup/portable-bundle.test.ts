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
