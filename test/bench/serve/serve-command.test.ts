import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { registerBenchCommand } from '../../../apps/server/src/bench/register-bench-command.ts'
import { runCommandLine } from '../../../apps/server/src/cli/program.ts'
import { completionChunks, fakeServer, sendEvents, sendJson } from './fake-server.ts'
import type { FakeServer, ReceivedRequest } from './fake-server.ts'

interface Ended { readonly exitCode: number | undefined, readonly stdout: string, readonly stderr: string }

async function bench (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  let exitCode: number | undefined
  const output = { stdout: '', stderr: '' }
  await runCommandLine(['bench', 'serve', ...args], {
    env,
    stdout: { write: text => { output.stdout += text } },
    stderr: { write: text => { output.stderr += text } },
    onSignal () {},
    exit: code => { exitCode = code }
  }, [registerBenchCommand])
  return { exitCode, ...output }
}

/** A model server with a vocabulary of 100 that says as many words as it is asked for. */
function modelServer (): Promise<FakeServer> {
  return fakeServer(async ({ path, body }, response) => {
    if (path === '/v1/models') sendJson(response, 200, { data: [{ id: 'tiny' }] })
    else if (path === '/tokenize') sendJson(response, 200, { tokens: [3, 99, 7] })
    else if (path === '/detokenize') sendJson(response, 200, { prompt: 'some text' })
    else {
      const numTokens = Number(body?.['max_tokens'] ?? body?.['max_completion_tokens'])
      await sendEvents(response, completionChunks(Array.from({ length: numTokens }, () => 'word '), Array.isArray(body?.['prompt']) ? body['prompt'].length : 11))
    }
  })
}

const completions = (server: FakeServer): ReceivedRequest[] => server.received.filter(({ path }) => path.endsWith('completions'))

t.test('a run sends what the flags say and prints vLLM\'s keys', async t => {
  await using server = await modelServer()
  const { exitCode, stdout, stderr } = await bench(['--base-url', server.url.href, '--num-prompts', '6', '--random-input-len', '12', '--random-output-len', '5',
    '--request-rate', '200', '--ignore-eos', '--num-warmups', '2', '--goodput', 'ttft:60000', 'e2el:60000', '--metric-percentiles', '50,99', '--json'])
  t.equal(exitCode, undefined, stderr)
  const report: Record<string, unknown> = JSON.parse(stdout)
  t.match(report, { model_id: 'tiny', num_prompts: 6, completed: 6, failed: 0, total_input_tokens: 72, total_output_tokens: 30, request_rate: 200, p50_ttft_ms: Number, p99_itl_ms: Number })
  t.equal(report['request_goodput'], report['request_throughput'])
  t.equal(completions(server).length, 1 + 2 + 6, 'one to see that the server is ready, two to warm up, six measured')
  t.match(completions(server)[0], { path: '/v1/completions', body: { model: 'tiny', max_tokens: 5, temperature: 0, stream: true, stream_options: { include_usage: true }, ignore_eos: true } })
  const prompts = completions(server).map(({ body }) => body?.['prompt'])
  t.ok(prompts.every(prompt => Array.isArray(prompt) && prompt.length === 12 && prompt.every(token => token < 100)))
})

t.test('a chat backend is sent text', async t => {
  await using server = await modelServer()
  const { stdout } = await bench(['--backend', 'openai-chat', '--base-url', server.url.href, '--model', 'other', '--num-prompts', '2', '--random-output-len', '3',
    '--ready-check-timeout-sec', '0', '--extra-body', '{"top_k":5}', '--header', 'x-tenant=a', '--percentile-metrics', 'ttft,e2el'], { OPENAI_API_KEY: 'secret' })
  t.match(completions(server), [{
    path: '/v1/chat/completions',
    headers: { authorization: 'Bearer secret', 'x-tenant': 'a' },
    body: { model: 'other', messages: [{ role: 'user', content: 'some text' }], max_completion_tokens: 3, top_k: 5 }
  }])
  t.match(stdout, /Successful requests\s+│\s+2 /)
  t.match(stdout, /TTFT, first chunk/)
  t.notMatch(stdout, /TPOT/)
})

t.test('the result is saved under vLLM\'s file name, in detail when asked for', async t => {
  await using server = await modelServer()
  const directory = join(t.testdir(), 'results')
  const common = ['--base-url', server.url.href, '--num-prompts', '2', '--random-input-len', '4', '--random-output-len', '2', '--ready-check-timeout-sec', '0',
    '--save-result', '--result-dir', directory]
  const { stderr } = await bench([...common, '--max-concurrency', '1', '--label', 'first', '--metadata', 'gpu=none', 'run=1'])
  const [name = ''] = await readdir(directory)
  t.match(name, /^first-infqps-concurrency1-tiny-\d{8}-\d{6}\.json$/)
  t.match(stderr, `result written to ${join(directory, name)}`)
  const report: Record<string, unknown> = JSON.parse(await readFile(join(directory, name), 'utf8'))
  t.match(report, { gpu: 'none', run: '1', max_concurrency: 1 })
  t.notOk('ttfts' in report)
  for (let run = 0; run < 2; run++) await bench([...common, '--save-detailed', '--append-result', '--result-filename', 'all.json'])
  const lines = (await readFile(join(directory, 'all.json'), 'utf8')).split('\n')
  t.equal(lines.length, 2)
  t.match(JSON.parse(lines[1] ?? ''), { output_lens: [2, 2], generated_texts: ['word word ', 'word word '], errors: ['', ''], itls: [[Number], [Number]] })
})

t.test('failed requests are counted, and the first is shown', async t => {
  let numServed = 0
  await using server = await fakeServer(async (_, response) => {
    if (++numServed % 2 === 0) sendJson(response, 429, { error: { message: 'queue is full' } })
    else await sendEvents(response, completionChunks(['a', 'b'], 4))
  })
  const { stdout, stderr } = await bench(['--base-url', server.url.href, '--model', 'tiny', '--vocab-size', '50', '--num-prompts', '4', '--max-concurrency', '1', '--ready-check-timeout-sec', '0', '--json'])
  t.match(JSON.parse(stdout), { completed: 2, failed: 2 })
  t.match(stderr, /2 requests failed; the first: HTTP 429: .*queue is full/)
})

t.test('a server that refuses the first request ends the run with its reason, at once', async t => {
  await using server = await fakeServer((_, response) => { sendJson(response, 404, { error: { message: 'no such model' } }) })
  const { exitCode, stderr } = await bench(['--base-url', server.url.href, '--model', 'tiny', '--vocab-size', '50', '--num-prompts', '2'])
  t.equal(exitCode, 1)
  t.match(stderr, /does not answer: HTTP 404: .*no such model/)
  t.equal(server.received.length, 1)
})

t.test('without a vocabulary there are no token prompts', async t => {
  await using server = await fakeServer((_, response) => { sendJson(response, 404, {}) })
  const { exitCode, stderr } = await bench(['--base-url', server.url.href, '--model', 'tiny'])
  t.equal(exitCode, 1)
  t.match(stderr, /give --vocab-size/)
})

t.test('wrong flags are refused before anything is sent', async t => {
  for (const args of [['--num-prompts', '0'], ['--request-rate', '-1'], ['--burstiness', '0'], ['--backend', 'grpc'], ['--random-range-ratio', '1'],
    ['--metric-percentiles', '101'], ['--percentile-metrics', 'ttft,speed'], ['--extra-body', '[]'], ['--port', '70000'], ['--max-concurrency', '1.5']]) {
    const { exitCode, stderr } = await bench(args)
    t.equal(exitCode, 2, `${args.join(' ')}: ${stderr}`)
  }
  t.equal((await bench(['--goodput', 'speed:1'])).exitCode, 1)
})
