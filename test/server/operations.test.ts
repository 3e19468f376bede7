import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { says } from '../fakes/fake-generation-service.ts'
import { aServer, userSays } from './server-under-test.ts'
import type { ServerUnderTest } from './server-under-test.ts'

async function get (server: ServerUnderTest, path: string, headers: Record<string, string> = {}) {
  const response = await fetch(server.url + path, { headers })
  return { status: response.status, headers: response.headers, body: await response.json() }
}

t.test('health follows the engine\'s progress, ready its state; neither queues anything', async t => {
  const server = await aServer(t)
  const rows = [
    ['loading', true, 200, 503, 'loading'],
    ['ready', true, 200, 200, 'ready'],
    ['ready', false, 503, 503, 'stalled'],
    ['recovering', true, 200, 503, 'recovering'],
    ['draining', true, 200, 503, 'draining'],
    ['failed', true, 503, 503, 'failed'],
  ] as const
  for (const [state, progressing, health, ready, status] of rows) {
    server.generation.state = state
    server.generation.progressing = progressing
    t.equal((await get(server, '/health')).status, health, `${state}, progressing ${progressing}`)
    t.match(await get(server, '/ready'), { status: ready, body: { status } })
  }
  t.equal(server.generation.streams.length, 0)
})

t.test('a server that still warms up is loading for whoever asks whether it is ready, and serves whoever does not', async t => {
  let finish = (): void => {}
  const server = await aServer(t, { text: { warmUp: new Promise(resolve => { finish = resolve }) } })
  t.match(await get(server, '/ready'), { status: 200 }, 'nobody has asked it to')
  const warmingUp = server.text.warmUp()
  t.match(await get(server, '/ready'), { status: 503, body: { status: 'loading' } })
  t.equal((await get(server, '/health')).status, 200)
  t.equal((await server.post('/tokenize', { prompt: 'a' })).status, 200)
  server.generation.progressing = false
  t.match(await get(server, '/ready'), { body: { status: 'stalled' } }, 'the worse news first')
  server.generation.progressing = true
  finish()
  await warmingUp
  t.match(await get(server, '/ready'), { status: 200, body: { status: 'ready' } })
})

t.test('the model is listed and found under each of its names, also one with a slash', async t => {
  const server = await aServer(t, { config: { servedModelNames: ['extra'] } })
  const listed = []
  for await (const model of server.client.models.list()) listed.push(model.id)
  t.strictSame(listed, ['fake', 'org/fake', 'extra'])
  t.match(await server.client.models.retrieve('org/fake'), { id: 'org/fake', object: 'model', owned_by: 'tests', created: 1700000000, root: 'fake', max_model_len: 1000 })
  t.match(await get(server, '/v1/models/org/fake'), { status: 200, body: { id: 'org/fake' } })
  t.match(await get(server, '/v1/models/none'), { status: 404, body: { error: { code: 'model_not_found' } } })
})

t.test('tokenize and detokenize are each other\'s inverse, for texts and conversations', async t => {
  const server = await aServer(t)
  const ask = async (path: string, body: object) => JSON.parse(await (await server.post(path, body)).text())
  t.strictSame(await ask('/tokenize', { prompt: 'Hé', add_special_tokens: false }), { count: 3, max_model_len: 1000, vocab_size: 258, tokens: [...Buffer.from('Hé')], token_strs: null })
  t.strictSame((await ask('/tokenize', { prompt: 'a', return_token_strs: true })).token_strs, ['<s>', 'a'])
  const { tokens } = await ask('/tokenize', { messages: userSays('Hi'), model: 'fake' })
  t.strictSame(await ask('/detokenize', { tokens }), { prompt: 'user: Hi\nassistant: ' })
  t.match(await ask('/tokenize', { messages: userSays('Hi'), prompt: 'x' }), { error: { code: 'invalid_value', param: 'prompt' } })
  t.match(await ask('/tokenize', {}), { error: { param: 'prompt' } })
  t.match(await ask('/detokenize', { tokens: [258] }), { error: { code: 'invalid_value', param: 'tokens' } })
  t.match(await ask('/detokenize', { tokens: Array.from({ length: 1001 }, () => 97) }), { error: { code: 'context_length_exceeded', param: 'tokens' } })
  t.match(await ask('/detokenize', { tokens: ['a'] }), { error: { code: 'invalid_type', param: 'tokens[0]' } })
  t.match(await ask('/tokenize', { prompt: 'x', model: 'other' }), { error: { code: 'model_not_found' } })
})

t.test('a text beyond the context is counted, but its tokens are not spelled out', async t => {
  const server = await aServer(t)
  const prompt = 'a'.repeat(1000)
  t.match(await (await server.post('/tokenize', { prompt })).json(), { count: 1001, max_model_len: 1000 })
  const refusal = await server.post('/tokenize', { prompt, return_token_strs: true })
  t.equal(refusal.status, 400)
  t.match(await refusal.json(), { error: { code: 'context_length_exceeded', param: 'return_token_strs' } })
  t.match(await (await server.post('/tokenize', { prompt, return_token_strs: true, add_special_tokens: false })).json(), { count: 1000, token_strs: { length: 1000 } })
})

t.test('a client\'s well-formed request id is echoed and logged, any other is replaced', async t => {
  const server = await aServer(t, { script: says('x') })
  const ask = (id: string) => server.post('/v1/chat/completions', { messages: userSays('Hi') }, { 'x-request-id': id, 'x-client-request-id': 'mine' })
  const response = await ask('trace-1.2:3')
  t.equal(response.headers.get('x-request-id'), 'trace-1.2:3')
  t.equal(response.headers.get('x-client-request-id'), 'mine')
  t.match(response.headers.get('openai-processing-ms'), /^\d+$/)
  t.match((await ask('a b')).headers.get('x-request-id'), /^req_[0-9a-f]{32}$/)
  t.match((await ask('x'.repeat(200))).headers.get('x-request-id'), /^req_/)
  await server.app.drain()
  const finished = server.logLines.map(line => JSON.parse(line)).filter(({ event }) => event === 'request-finished')
  t.match(finished[0], { requestId: 'trace-1.2:3', reason: 'stop', promptTokens: 20, completionTokens: 1, cachedTokens: 0, ttftMs: Number, durationMs: Number })
  t.equal(finished.length, 3, 'one line per request')
})

t.test('no log line holds prompt or generated text', async t => {
  const server = await aServer(t, { script: says('generated-words') })
  await server.client.chat.completions.create({ model: 'fake', messages: userSays('prompt-words') })
  await server.post('/v1/chat/completions', { messages: userSays('prompt-words'), temperature: 9 })
  await server.post('/v1/chat/completions', '{"messages": "prompt-words')
  await server.app.drain()
  t.ok(server.logLines.length >= 3)
  t.notOk(server.logLines.some(line => /prompt-words|generated-words/.test(line)))
})

t.test('the version is the package\'s', async t => {
  t.match(await get(await aServer(t), '/version'), { status: 200, body: { version: /^\d+\.\d+\.\d+/ } })
})

t.test('pages of other origins get no CORS headers unless they are allowed', async t => {
  const origin = 'https://app.example'
  t.equal((await get(await aServer(t), '/health', { origin })).headers.get('access-control-allow-origin'), null)
  const server = await aServer(t, { config: { corsOrigins: [origin] } })
  t.equal((await get(server, '/health', { origin })).headers.get('access-control-allow-origin'), origin)
  t.equal((await get(server, '/health', { origin: 'https://evil.example' })).headers.get('access-control-allow-origin'), null)
  const preflight = await fetch(`${server.url}/v1/chat/completions`, { method: 'OPTIONS', headers: { origin, 'access-control-request-headers': 'content-type' } })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-headers'), 'content-type')
  t.match(preflight.headers.get('access-control-allow-methods'), /POST/)
})

t.test('a page whose name was made to lead to this machine is none of ours; local names and allowed origins are', async t => {
  const answer = async (server: ServerUnderTest, host: string): Promise<number | undefined> => {
    const request = httpRequest(server.url + '/tokenize', { method: 'POST', headers: { host, origin: `http://${host}`, 'content-type': 'application/json' } })
    request.end(JSON.stringify({ prompt: 'x' }))
    const [response] = await once(request, 'response') as [IncomingMessage]
    response.resume()
    return response.statusCode
  }
  const server = await aServer(t)
  t.equal(await answer(server, 'rebound.example:8000'), 403)
  t.equal(await answer(server, '127.0.0.1.rebound.example'), 403)
  for (const host of ['127.0.0.1:8000', 'localhost:8000', 'LOCALHOST', 'app.localhost', '[::1]:8000']) t.equal(await answer(server, host), 200, host)
  t.equal(await answer(await aServer(t, { config: { corsOrigins: ['http://our.example'] } }), 'our.example'), 200)
})

t.test('a drain refuses new requests, lets running ones finish, keeps health and reports not ready', async t => {
  const server = await aServer(t)
  const running = server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi') })
  const generation = await server.generation.stream(0)
  let drained = false
  const draining = server.app.drain().then(() => { drained = true })
  const refused = await server.post('/v1/chat/completions', { messages: userSays('Hi') })
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('connection'), 'close')
  t.ok(Number(refused.headers.get('retry-after')) > 0)
  t.match(await get(server, '/ready'), { status: 503, body: { status: 'draining' } })
  t.equal((await get(server, '/health')).status, 200)
  t.notOk(drained)
  generation.scheduled()
  generation.token(0x61)
  generation.finish('stop')
  t.equal((await running).choices[0]?.message.content, 'a')
  await draining
})

t.test('close stops what is still running, with an error for its client, and does not wait for idle connections', async t => {
  const server = await aServer(t)
  const whole = server.post('/v1/chat/completions', { messages: userSays('Hi') })
  await server.generation.stream(0)
  const streamed = await server.post('/v1/chat/completions', { messages: userSays('Hi'), stream: true })
  await server.generation.stream(1)
  const closing = server.app.close()
  t.equal((await whole).status, 503)
  t.match(await streamed.text(), /^data: \{"error":\{"message":"The server is shutting down\."[^\n]*\}\n\n$/)
  await closing
  t.ok(server.generation.streams.every(({ released }) => released))
  t.match(await server.telemetry.render(), /^daybreak_aborts_total\{phase="queued",cause="shutdown"\} 2$/m)
})
