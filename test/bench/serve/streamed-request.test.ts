import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { RequestOutcome } from '../../../apps/server/src/bench/serve/request-outcome.ts'
import { ServerClient } from '../../../apps/server/src/bench/serve/server-client.ts'
import { measureStreamed } from '../../../apps/server/src/bench/serve/streamed-request.ts'
import { completionChunks, fakeServer, sendEvents, sendJson } from './fake-server.ts'

const sample = { prompt: 'Hello', promptTokens: 7, outputTokens: 9 }

/** Measures one request against a server that answers so; the clock counts a second for each look at it. */
async function measure (answer: (response: ServerResponse) => void | Promise<void>): Promise<RequestOutcome> {
  await using server = await fakeServer((_, response) => answer(response))
  const client = new ServerClient(server.url, {})
  let time = 0
  try {
    return await measureStreamed(client, '/v1/completions', '{}', sample, 0.5, () => time++)
  } finally {
    client.close()
  }
}

t.test('chunks with choices are measured, the usage chunk is not', async t => {
  t.strictSame(await measure(response => sendEvents(response, completionChunks(['a', 'b', 'c'], 12))), {
    error: undefined,
    promptTokens: 12,
    outputTokens: 3,
    hasUsage: true,
    startTime: 0,
    queueSeconds: 0.5,
    ttft: 1,
    firstTextSeconds: 1,
    itls: [1, 1],
    latency: 3,
    text: 'abc'
  })
})

t.test('a role chunk counts as the first for TTFT, as in vLLM, but not as the first text', async t => {
  const outcome = await measure(response => sendEvents(response, [
    { choices: [{ delta: { role: 'assistant', content: '' } }] },
    { choices: [{ delta: { reasoning_content: 'hm' } }] },
    { choices: [{ delta: { content: 'Hi' } }] },
    { choices: [{ delta: {}, finish_reason: 'stop' }] },
    { choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } }
  ]))
  t.match(outcome, { error: undefined, ttft: 1, firstTextSeconds: 2, itls: [1, 1, 1], latency: 4, text: 'hmHi', outputTokens: 2 })
})

t.test('without usage, chunks with text are counted and the lack is noted', async t => {
  const outcome = await measure(response => sendEvents(response, completionChunks(['a', '', 'c'], 1).slice(0, 3)))
  t.match(outcome, { error: undefined, outputTokens: 2, promptTokens: 7, hasUsage: false })
})

t.test('what goes wrong is the outcome\'s error', async t => {
  const cases: ReadonlyArray<readonly [string, (response: ServerResponse) => void | Promise<void>, RegExp]> = [
    ['a refusal', response => { sendJson(response, 400, { error: { message: 'too long' } }) }, /^HTTP 400: .*too long/],
    ['an overload', response => { sendJson(response, 503, {}) }, /^HTTP 503/],
    ['an error in the stream', response => sendEvents(response, [{ choices: [{ text: 'a' }] }, { error: { message: 'engine died' } }]), /engine died/],
    ['no chunk at all', response => sendEvents(response, []), /without a single chunk/],
    ['nonsense', response => { response.writeHead(200).end('data: {"choices\n\n') }, /a chunk is not JSON/],
    ['a chunk that is no object', response => { response.writeHead(200).end('data: 7\n\n') }, /not an object/],
    ['a cut connection', response => { response.writeHead(200).write('data: {"choices":[{"text":"a"}]}\n\n', () => response.destroy()) }, /aborted|closed|reset|hang up/i]
  ]
  for (const [name, answer, error] of cases) t.match((await measure(answer)).error, error, name)
})

t.test('a server that is not there is an error as well', async t => {
  const server = await fakeServer(() => {})
  await server[Symbol.asyncDispose]()
  const client = new ServerClient(server.url, {})
  t.match((await measureStreamed(client, '/v1/completions', '{}', sample, 0, () => 0)).error, /ECONNREFUSED/)
  client.close()
})

t.test('a base URL may have a path, and headers go with every request', async t => {
  await using server = await fakeServer((_, response) => { sendJson(response, 200, { ok: true }) })
  const client = new ServerClient(new URL('/proxy/', server.url), { authorization: 'Bearer k' })
  t.strictSame(await client.json('/v1/models'), { ok: true })
  t.strictSame(await client.json('/tokenize', { prompt: 'ü' }), { ok: true })
  client.close()
  t.match(server.received, [
    { method: 'GET', path: '/proxy/v1/models', headers: { authorization: 'Bearer k' }, body: undefined },
    { method: 'POST', path: '/proxy/tokenize', headers: { authorization: 'Bearer k' }, body: { prompt: 'ü' } }
  ])
})
