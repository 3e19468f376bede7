import t from 'tap'
import { serveCommand } from '../../../apps/server/src/cli/serve.ts'
import { runRecorded } from '../../fakes/recorded-command.ts'
import type { RecordedCommand } from '../../fakes/recorded-command.ts'

const serve = serveCommand({ engineEntry: new URL('../../fakes/fake-engine-child.ts', import.meta.url), execArgv: [] })

const startServing = (args: readonly string[], env: Readonly<Record<string, string>> = {}): RecordedCommand =>
  runRecorded(['serve', '--port', '0', '--log-level', 'silent', ...args], [serve], env)

t.test('a queue that cannot be reached is one clear line and exit code 1, before anything is loaded', async t => {
  const command = startServing(['--queue', 'redis://user:secret@127.0.0.1:1', 'no-such-model'])
  t.equal(await command.exited, 1)
  t.match(command.stderr, /^daybreak: the queue at redis:\/\/127\.0\.0\.1:1 cannot be used \(connect ECONNREFUSED .*\): start a Redis there, correct --queue, or leave it out/)
  t.notMatch(command.stderr, 'secret')
})

t.test('what is no address of a queue is refused, without what may be a password in it', async t => {
  const command = startServing(['--queue', 'redi://user:secret@host'])
  t.equal(await command.exited, 2)
  t.match(command.stderr, /^daybreak: --queue: "redi:\/\/…@host" is not allowed; it takes redis:\/\/host:port/)
})

t.test('the address may come from the environment, where no list of processes shows it', async t => {
  const command = startServing([], { DAYBREAK_QUEUE: 'redis://:secret@127.0.0.1:1/3' })
  t.equal(await command.exited, 1)
  t.match(command.stderr, 'redis://127.0.0.1:1/3')
  t.notMatch(command.stderr, 'secret')
})
