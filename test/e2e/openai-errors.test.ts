import { connect } from 'node:net'
import OpenAI from 'openai'
import t from 'tap'
import { QueueFullError, ServiceUnavailableError } from '../../apps/server/src/errors.ts'
import { says } from '../fakes/fake-generation-service.ts'
import { aServer, dataOf, userSays } from '../server/server-under-test.ts'
import type { ServerUnderTest } from '../server/server-under-test.ts'

const chat = '/v1/chat/completions'
const plain = '/v1/completions'

async function refusal (server: ServerUnderTest, path: string, body: unknown, headers?: Record<string, string>) {
  const response = await server.post(path, body, headers)
  const { error } = await response.json() as { error: { message: string, type: string, param: string | null, code: string | null } }
  return { status: response.status, type: error.type, param: error.param, code: error.code, message: error.message, headers: response.headers }
}

t.test('a bad parameter is refused with its path and a code, and reaches nobody', async t => {
  const server = await aServer(t, { script: says('x') })
  const messages = userSays('Hi')
  const deep = (levels: number): unknown => levels === 0 ? 1 : [deep(levels - 1)]
  const rows: ReadonlyArray<readonly [path: string, body: unknown, status: number, code: string, param: string | null]> = [
    [chat, { messages, model: 'other' }, 404, 'model_not_found', 'model'],
    [chat, { messages, model: 7 }, 400, 'invalid_type', 'model'],
    [chat, {}, 400, 'missing_required_parameter', 'messages'],
    [chat, { messages: [] }, 400, 'invalid_value', 'messages'],
    [chat, { messages: 'Hi' }, 400, 'invalid_type', 'messages'],
    [chat, { messages: [{ role: 'user' }] }, 400, 'invalid_value', 'messages[0].content'],
    [chat, { messages: [{ role: 'wizard', content: 'x' }] }, 400, 'invalid_value', 'messages[0].role'],
    [chat, { messages: [{ role: 'user', content: 7 }] }, 400, 'invalid_type', 'messages[0].content'],
    [chat, { messages: [{ role: 'user', content: [{ type: 'text', text: 7 }] }] }, 400, 'invalid_type', 'messages[0].content[0].text'],
    [chat, { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:' } }] }] }, 400, 'unsupported_parameter', 'messages[0].content[0].type'],
    [chat, { messages: [...messages, { role: 'system', content: 'late' }] }, 400, 'chat_template_error', null],
    [chat, { messages, temperature: 'hot' }, 400, 'invalid_type', 'temperature'],
    [chat, { messages, temperature: 2.1 }, 400, 'invalid_value', 'temperature'],
    [chat, { messages, top_p: -0.1 }, 400, 'invalid_value', 'top_p'],
    [chat, { messages, n: 9 }, 400, 'invalid_value', 'n'],
    [chat, { messages, n: 1.5 }, 400, 'invalid_type', 'n'],
    [chat, { messages, max_tokens: 0 }, 400, 'invalid_value', 'max_tokens'],
    [chat, { messages, max_tokens: 1e30 }, 400, 'invalid_value', 'max_tokens'],
    [chat, { messages, stop: Array.from({ length: 17 }, String) }, 400, 'invalid_value', 'stop'],
    [chat, { messages, stop: '' }, 400, 'invalid_value', 'stop'],
    [chat, { messages, stop: ['ok', '\ud83d'] }, 400, 'invalid_value', 'stop[1]'],
    [chat, { messages, top_logprobs: 3 }, 400, 'invalid_value', 'top_logprobs'],
    [chat, { messages, logprobs: true, top_logprobs: 21 }, 400, 'invalid_value', 'top_logprobs'],
    [chat, { messages, logit_bias: { 258: 1 } }, 400, 'invalid_value', 'logit_bias.258'],
    [chat, { messages, logit_bias: { 1: 101 } }, 400, 'invalid_value', 'logit_bias.1'],
    [chat, { messages, stream_options: { surprise: true } }, 400, 'unknown_parameter', 'stream_options.surprise'],
    [chat, { messages, surprise: true }, 400, 'unknown_parameter', 'surprise'],
    [chat, { messages, response_format: { type: 'json_object' } }, 400, 'unsupported_parameter', 'response_format'],
    [chat, { messages, tool_choice: 'required' }, 400, 'unsupported_parameter', 'tool_choice'],
    [chat, { messages, functions: [] }, 400, 'unsupported_parameter', 'functions'],
    [chat, { messages, audio: {} }, 400, 'unsupported_parameter', 'audio'],
    [chat, { messages, tools: deep(40) }, 400, 'invalid_value', null],
    [chat, { messages: userSays('x'.repeat(1000)) }, 400, 'context_length_exceeded', 'messages'],
    [chat, { messages, max_tokens: 1000 }, 400, 'context_length_exceeded', 'messages'],
    [chat, '{"messages": [', 400, 'invalid_json', null],
    [chat, '{"__proto__": {}}', 400, 'invalid_json', null],
    [chat, '', 400, 'invalid_json', null],
    [chat, [], 400, 'invalid_type', null],
    [plain, { prompt: 'x', best_of: 2 }, 400, 'unsupported_parameter', 'best_of'],
    [plain, {}, 400, 'missing_required_parameter', 'prompt'],
    [plain, { prompt: {} }, 400, 'invalid_type', 'prompt'],
    [plain, { prompt: [] }, 400, 'invalid_value', 'prompt'],
    [plain, { prompt: ['a', 7] }, 400, 'invalid_type', 'prompt[1]'],
    [plain, { prompt: [1, 'a'] }, 400, 'invalid_type', 'prompt[1]'],
    [plain, { prompt: [1, -1] }, 400, 'invalid_type', 'prompt[1]'],
    [plain, { prompt: [258] }, 400, 'invalid_value', 'prompt'],
    [plain, { prompt: [[1], []] }, 400, 'invalid_value', 'prompt[1]'],
    [plain, { prompt: Array.from({ length: 65 }, () => 'x') }, 400, 'invalid_value', 'prompt'],
    [plain, { prompt: ['x', 'x'.repeat(1000)] }, 400, 'context_length_exceeded', 'prompt[1]'],
    [plain, { prompt: 'x', max_tokens: 0 }, 400, 'invalid_value', 'max_tokens'],
    [plain, { prompt: 'x', logprobs: 21 }, 400, 'invalid_value', 'logprobs'],
  ]
  for (const [path, body, status, code, param] of rows) {
    const { message, headers: _headers, ...error } = await refusal(server, path, body)
    t.strictSame(error, { status, type: 'invalid_request_error', param, code }, `${JSON.stringify(body).slice(0, 80)}: ${message}`)
  }
  t.equal(server.generation.streams.length, 0)
})

t.test('values that ask for nothing unsupported are accepted, as is null for "not set"', async t => {
  const server = await aServer(t, { script: says('x') })
  const body = {
    messages: userSays('Hi'),
    best_of: 1,
    response_format: { type: 'text' },
    tool_choice: 'none',
    function_call: 'none',
    modalities: ['text'],
    stop: null,
    n: null,
    seed: null,
    logit_bias: null,
    tools: null,
    service_tier: 'auto',
    prompt_cache_key: 'k',
    safety_identifier: 's',
  }
  t.equal((await server.post(chat, body)).status, 200)
})

t.test('a body with a million bad elements is refused quickly, without an issue for each', async t => {
  const server = await aServer(t)
  const million = `[${'1,'.repeat(999_999)}1]`
  for (const field of ['messages', 'stop', 'tools', 'stop_token_ids']) {
    t.match(await refusal(server, chat, `{"messages":[{"role":"user","content":"x"}],"${field}":${million}}`), { status: 400, code: 'invalid_value', param: field })
  }
})

t.test('other content types, larger bodies, unknown routes and other methods have their statuses, all in OpenAI\'s form', async t => {
  const server = await aServer(t, { config: { bodyLimitBytes: 2048 } })
  t.match(await refusal(server, chat, '{}', { 'content-type': 'text/plain' }), { status: 415, code: 'unsupported_media_type' })
  t.match(await refusal(server, chat, { messages: userSays('x'.repeat(3000)) }), { status: 413, code: 'request_too_large' })
  t.match(await refusal(server, '/v1/nothing', {}), { status: 404, code: 'not_found' })
  const other = await fetch(server.url + '/tokenize', { method: 'PUT' })
  t.equal(other.status, 405)
  t.equal(other.headers.get('allow'), 'POST')
  t.match(await other.json(), { error: { code: 'method_not_allowed', type: 'invalid_request_error' } })
  t.equal((await fetch(server.url + chat)).status, 405, 'GET of a generation path without an upgrade')
  t.equal((await fetch(server.url + '/v1/models/unknown/model')).status, 404)
})

t.test('headers beyond the limit are refused before anything else', async t => {
  const server = await aServer(t, { config: { headerLimitBytes: 8192 } })
  const response = await fetch(server.url + '/health', { headers: { 'x-long': 'x'.repeat(10_000) } })
  t.equal(response.status, 431)
  t.match(await response.json(), { error: { type: 'invalid_request_error', code: 'headers_too_large', param: null } })
})

t.test('what is no HTTP, and paths that are none, are refused in OpenAI\'s form as well', async t => {
  const server = await aServer(t)
  const answerTo = async (request: string): Promise<string> => {
    const socket = connect(server.port, '127.0.0.1')
    socket.write(request)
    let answer = ''
    for await (const bytes of socket) answer += String(bytes)
    return answer
  }
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`
  const expected: ReadonlyArray<readonly [request: string, status: number, code: string]> = [
    ['NO HTTP\r\n\r\n', 400, 'malformed_request'],
    [get('/%E0%A4%A'), 404, 'not_found'],
    [get('//['), 404, 'not_found'],
  ]
  for (const [request, status, code] of expected) {
    const answer = await answerTo(request)
    t.match(answer, new RegExp(`^HTTP/1.1 ${status} `))
    t.match(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))), { error: { code, type: 'invalid_request_error', param: null } })
  }
})

t.test('a full queue is 429 with retry-after, an engine that is not ready 503, and the client\'s classes fit', async t => {
  const server = await aServer(t, { script: says('x') })
  const ask = (stream: boolean) => server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), stream })
  server.generation.refusal = new QueueFullError({ numWaiting: 8, limit: 8, retryAfterSeconds: 4 })
  for (const stream of [false, true]) {
    const error = await ask(stream).catch((error: unknown) => error)
    t.ok(error instanceof OpenAI.RateLimitError)
    t.match(error, { status: 429, code: 'rate_limit_exceeded' })
    t.equal(error instanceof OpenAI.APIError && error.headers?.get('retry-after'), '4')
  }
  server.generation.refusal = new ServiceUnavailableError({ state: 'recovering' })
  t.match(await ask(true).catch((error: unknown) => error), { status: 503, code: 'service_unavailable' })
  server.generation.refusal = undefined
  server.generation.capacity = undefined
  server.generation.state = 'loading'
  const loading = await refusal(server, chat, { messages: userSays('Hi') })
  t.match(loading, { status: 503, code: 'service_unavailable' })
  t.ok(Number(loading.headers.get('retry-after')) > 0)
  t.equal(server.generation.streams.length, 0)
})

t.test('when one of several prompts is refused, those already queued are aborted', async t => {
  const server = await aServer(t, { script: () => { server.generation.refusal = new QueueFullError({ numWaiting: 1, limit: 1 }) } })
  t.match(await refusal(server, plain, { prompt: ['a', 'b'] }), { status: 429 })
  t.equal(server.generation.streams.length, 1)
  t.ok(server.generation.streams[0]?.aborted)
})

t.test('an unexpected fault is a generic 500: its words are for the log, the prompt for nobody', async t => {
  const server = await aServer(t, { text: { beforeEncode: () => { throw new Error('secret detail') } } })
  const error = await refusal(server, chat, { messages: userSays('private words') })
  t.match(error, { status: 500, type: 'server_error', code: 'internal_error', message: 'The server had an error while processing your request.' })
  t.ok(server.logLines.some(line => line.includes('secret detail')))
  t.notOk(server.logLines.some(line => line.includes('private words')))
})

t.test('a failing engine is a 500 before the first byte and an error event without [DONE] after it', async t => {
  const server = await aServer(t, {
    script: stream => {
      stream.scheduled()
      stream.token(0x61)
      stream.finish('error', 0, { error: { code: 'ENGINE_DEVICE_LOST', message: 'device lost' } })
    }
  })
  t.match(await refusal(server, chat, { messages: userSays('Hi') }), { status: 500, code: 'internal_error' })
  const events = dataOf(await (await server.post(chat, { messages: userSays('Hi'), stream: true })).text())
  t.match(JSON.parse(events.at(-1) ?? ''), { error: { type: 'server_error', code: 'internal_error' } })
  t.notOk(events.includes('[DONE]'))

  const stream = await server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), stream: true })
  const thrown = await (async () => { for await (const _chunk of stream); })().catch((error: unknown) => error)
  t.ok(thrown instanceof OpenAI.APIError)
})

t.test('a generation that the service stops unasked, as at a drain\'s deadline, is a 503 that may be tried again', async t => {
  const server = await aServer(t, {
    script: stream => {
      stream.scheduled()
      stream.token(0x61)
      stream.finish('abort')
    }
  })
  t.match(await refusal(server, chat, { messages: userSays('Hi') }), { status: 503, code: 'service_unavailable' })
  const events = dataOf(await (await server.post(chat, { messages: userSays('Hi'), stream: true })).text())
  t.match(JSON.parse(events.at(-1) ?? ''), { error: { code: 'service_unavailable' } })
})

t.test('a prompt the engine refuses as too long has the same code as one refused before it', async t => {
  const server = await aServer(t, { script: stream => stream.finish('error', 0, { error: { code: 'SCHEDULER_CONTEXT_LENGTH', message: 'too long' } }) })
  t.match(await refusal(server, chat, { messages: userSays('Hi') }), { status: 400, code: 'context_length_exceeded', message: 'too long' })
})

t.test('what the scheduler and the supervisor report of a failed choice has the status that says whether to try again', async t => {
  const expected: ReadonlyArray<readonly [reported: string, status: number, code: string, shouldRetry: string | null]> = [
    ['context_length_exceeded', 400, 'context_length_exceeded', null],
    ['kv_capacity_exceeded', 400, 'context_length_exceeded', null],
    ['invalid_request', 400, 'invalid_value', null],
    ['kv_cache_exhausted', 503, 'service_unavailable', null],
    ['ENGINE_FAILED', 503, 'service_unavailable', null],
    ['ENGINE_CRASHED_BY_REQUEST', 500, 'engine_crashed', 'false']
  ]
  for (const [reported, status, code, shouldRetry] of expected) {
    const server = await aServer(t, { script: stream => stream.finish('error', 0, { error: { code: reported, message: 'as it was said' } }) })
    const error = await refusal(server, chat, { messages: userSays('Hi') })
    t.match(error, { status, code, message: 'as it was said' }, reported)
    t.equal(error.headers.get('x-should-retry'), shouldRetry)
  }
})

t.test('a fault in one choice fails the request and frees its other choices', async t => {
  const server = await aServer(t, { script: stream => stream.finish('error', 1, { error: { code: 'X', message: 'x' } }) })
  t.match(await refusal(server, chat, { messages: userSays('Hi'), n: 2 }), { status: 500 })
  t.ok(server.generation.streams[0]?.released)
})

t.test('a request past its deadline is aborted, and told not to try again', async t => {
  const server = await aServer(t, { config: { requestTimeoutSeconds: 0.1 } })
  const error = await refusal(server, chat, { messages: userSays('Hi') })
  t.match(error, { status: 504, code: 'generation_timeout' })
  t.equal(error.headers.get('x-should-retry'), 'false')
  t.ok(server.generation.streams[0]?.released)
})
