import { createServer } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { serveCommand } from '../../apps/server/src/cli/serve.ts'
import { scriptedShape } from '../fakes/fake-engine-script.ts'
import type { FakeEngineScript } from '../fakes/fake-engine-script.ts'
import { runRecorded } from '../fakes/recorded-command.ts'
import type { RecordedCommand } from '../fakes/recorded-command.ts'
import { sourceFlags } from '../fakes/source-flags.ts'

t.setTimeout(180_000)

const serve = serveCommand({
  engineEntry: new URL('../fakes/fake-engine-child.ts', import.meta.url),
  execArgv: sourceFlags
})

const startServing = (script: FakeEngineScript, args: readonly string[] = []): RecordedCommand =>
  runRecorded(['serve', '--port', '0', '--synthetic', scriptedShape(script), '--served-model-name', 'fake', ...args], [serve])

/** The address in the log's first line. */
function addressOf (command: RecordedCommand): string {
  const address = /listening at (http:[^"]+)"/.exec(command.stderr)?.[1]
  if (address === undefined) throw new Error(`no address in ${command.stderr}`)
  return address
}

const completion = (address: string, body: Readonly<Record<string, unknown>>): Promise<Response> => fetch(`${address}/v1/completions`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'fake', prompt: [1, 2, 3], ignore_eos: true, ...body })
})

t.test('while the engine loads, probes are answered, generation is refused, and SIGTERM ends it', async t => {
  const command = startServing({ loading: { belowIncarnation: 1_000, how: 'hang' } })
  await command.done
  const address = addressOf(command)
  t.equal((await fetch(`${address}/health`)).status, 200)
  const ready = await fetch(`${address}/ready`)
  t.equal(ready.status, 503)
  t.match(await ready.json(), { status: 'loading' })
  t.equal((await completion(address, { max_tokens: 1 })).status, 503)
  command.signal('SIGTERM')
  t.equal(await command.exited, 0)
})

t.test('a server that is ready prints what it runs, and on SIGTERM finishes its streams before it exits', async t => {
  const command = startServing({})
  await command.printed('curl ')
  const address = addressOf(command)
  t.match(command.stdout, /model +fake \(FakeForCausalLM, 1K parameters/)
  t.match(command.stdout, /adapter +a fake: software/)
  t.match(command.stdout, '256 blocks × 16 = 4,096 tokens')
  t.match(command.stdout, address)
  t.equal((await fetch(`${address}/ready`)).status, 200)

  const streamed = await completion(address, { max_tokens: 300, stream: true })
  t.equal(streamed.status, 200)
  command.signal('SIGTERM')
  const text = await streamed.text()
  t.match(text, /"finish_reason":"length"/, 'the stream was finished, not cut')
  t.ok(text.trimEnd().endsWith('data: [DONE]'))
  t.equal(await command.exited, 0)
  await t.rejects(fetch(`${address}/health`), 'nothing listens any more')
})

t.test('a server that is ready has started the worker for long texts', async t => {
  let numWorkers = 0
  const listener = (): void => { numWorkers += 1 }
  process.on('worker', listener)
  t.teardown(() => { process.off('worker', listener) })
  const command = startServing({})
  await command.printed('curl ')
  const address = addressOf(command)
  t.equal((await fetch(`${address}/ready`)).status, 200)
  t.equal(numWorkers, 2, 'the chat template\'s and the tokenizer\'s')
  const prompt = 'word '.repeat(1_000)
  const tokenized = await fetch(`${address}/tokenize`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ prompt }) })
  t.equal(tokenized.status, 200)
  t.equal(numWorkers, 2, 'a long text needs no other')
  command.signal('SIGTERM')
  t.equal(await command.exited, 0)
})

t.test('at the deadline of the drain what is unfinished is aborted', async t => {
  const command = startServing({ hangAt: { incarnation: 0, step: 5 } }, ['--drain-timeout-seconds', '0'])
  await command.printed('curl ')
  const streamed = await completion(addressOf(command), { max_tokens: 100, stream: true })
  command.signal('SIGINT')
  t.notMatch(await streamed.text().catch(() => ''), /"finish_reason":"length"/)
  t.equal(await command.exited, 0)
})

t.test('a second signal does not wait', async t => {
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
    const command = startServing({ hangAt: { incarnation: 0, step: 1 } }, ['--drain-timeout-seconds', '1'])
    await command.printed('curl ')
    const streamed = completion(addressOf(command), { max_tokens: 100 })
    streamed.catch(() => {})
    while (!/vllm:num_requests_running\{[^}]*\} 1/.test(await (await fetch(`${addressOf(command)}/metrics`)).text()));
    command.signal(signal)
    command.signal(signal)
    t.equal(await command.exited, code)
  }
})

t.test('a port in use is one clear line and exit code 1', async t => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const address = other.address()
  const port = typeof address === 'object' && address !== null ? String(address.port) : ''
  const command = runRecorded(['serve', '--port', port, '--log-level', 'silent'], [serve])
  t.equal(await command.exited, 1)
  t.equal(command.stderr, `daybreak: port ${port} on 127.0.0.1 is in use; choose another with --port, or stop what listens there\n`)
  other.close()
})

t.test('an engine that cannot load ends the server with its own words', async t => {
  const command = startServing({ loading: { belowIncarnation: 1_000, how: 'fatal' } }, ['--log-level', 'silent'])
  t.equal(await command.exited, 1)
  t.equal(command.stderr, 'daybreak: no adapter: install one\n')
})

t.test('a flag that may be repeated leaves the model behind it alone, and two models are one too many', async t => {
  const command = runRecorded(['serve', '--cors-origins', 'https://a', '--cors-origins', 'https://b', 'no-such-model'], [serve])
  await command.done
  t.match(command.stderr, /^daybreak: model "no-such-model": /)

  const twice = runRecorded(['serve', 'no-such-model', '--model', 'daybreak-mini'], [serve])
  await twice.done
  t.equal(twice.exitCode, 2)
  t.match(twice.stderr, /^daybreak: two models are given, "no-such-model" and --model "daybreak-mini"/)
})

t.test('an unknown model says what works', async t => {
  const command = runRecorded(['serve', 'no-such-model'], [serve])
  t.equal(await command.exited, 1)
  t.match(command.stderr, /^daybreak: model "no-such-model": .*built-in name \(daybreak-mini\)/)
})
