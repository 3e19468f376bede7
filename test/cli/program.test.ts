import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { RegisterCommand } from '../../apps/server/src/cli/command-context.ts'
import { runRecorded } from '../fakes/recorded-command.ts'

t.setTimeout(120_000)

const main = fileURLToPath(new URL('../../apps/server/src/main.ts', import.meta.url))
const daybreak = (...args: readonly string[]): { readonly status: number | null, readonly stdout: string, readonly stderr: string } =>
  spawnSync(process.execPath, ['--conditions=@daybreak/source', '--import=tsx', main, ...args], { encoding: 'utf8' })

t.test('the program lists its commands', async t => {
  const { status, stdout, stderr } = daybreak('--help')
  t.equal(status, 0)
  for (const command of ['serve', 'models', 'inspect', 'bench', 'eval']) t.match(stdout, new RegExp(`^ {2}${command} `, 'm'))
  t.equal(stderr, '')
})

t.test('without a command the help goes to stderr, and the exit code is 2', async t => {
  const { status, stdout, stderr } = daybreak()
  t.equal(status, 2)
  t.equal(stdout, '')
  t.match(stderr, 'Usage: daybreak')
})

t.test('the version is the package\'s', async t => {
  const command = runRecorded(['--version'], [])
  await command.done
  t.equal(command.exitCode, 0)
  t.match(command.stdout, /^\d+\.\d+\.\d+\n$/)
})

t.test('an unknown command suggests the nearest, with exit code 2', async t => {
  const command = runRecorded(['sevre'], [program => { program.command('serve').action(() => {}) }])
  await command.done
  t.equal(command.exitCode, 2)
  t.match(command.stderr, /^daybreak: unknown command 'sevre'\n\(Did you mean serve\?\)/)
})

t.test('what a command rejects with is one line, with exit code 1', async t => {
  const failing: RegisterCommand = program => { program.command('fail').action(async () => { throw new Error('the disk is full') }) }
  const command = runRecorded(['fail'], [failing])
  await command.done
  t.equal(command.exitCode, 1)
  t.equal(command.stderr, 'daybreak: the disk is full\n')
})
