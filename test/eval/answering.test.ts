import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import type { GenerationEvent, GenerationRequest } from '@daybreak/scheduler'
import { ServerAnswering } from '../../apps/server/src/eval/server-answering.ts'
import { ServiceAnswering } from '../../apps/server/src/eval/service-answering.ts'
import { runEval } from '../../apps/server/src/eval/run-eval.ts'
import type { GenerationService, GenerationStream } from '../../apps/server/src/generation/generation-service.ts'
import { openTextService } from '../../apps/server/src/text/index.ts'
import { daybreakMini } from '../text/tokenizer-folder.ts'

const END = 1989

/** A service that answers every request with the events `reply` makes of it. */
function serviceOf (reply: (request: GenerationRequest) => readonly GenerationEvent[]): GenerationService {
  return {
    state: 'ready',
    numRestarts: 0,
    capacity: undefined,
    stats: {
      numRunning: 0,
      numWaiting: 0,
      waitingTokens: 0,
      numBackground: 0,
      kvCacheUsage: 0,
      numSwapped: 0,
      hostTierUsage: 0,
      prefixCacheQueries: 0,
      prefixCacheHits: 0,
      promptTokensComputed: 0,
      generatedTokens: 0,
      swappedOutBlocks: 0,
      swappedInBlocks: 0,
      numPreemptions: 0,
      numSteps: 0
    },
    progressing: true,
    onStep: () => {},
    generate: (request): GenerationStream => ({
      abort: () => {},
      pause: () => {},
      resume: () => {},
      async * [Symbol.asyncIterator] () { for (const event of reply(request)) yield [event] }
    })
  }
}

const tokenEvent = (id: string, token: number): GenerationEvent => ({ type: 'token', id, choice: 0, token, logprob: 0, topLogprobs: undefined })
const finish = (id: string, reason: 'stop' | 'length' | 'error', stopToken?: number): GenerationEvent => ({
  type: 'finish', id, choice: 0, reason, stopToken, error: reason === 'error' ? { code: 'ENGINE_LOST', message: 'the device is lost' } : undefined
})

t.test('asking a generation service', async t => {
  const text = await openTextService(daybreakMini)
  t.teardown(async () => { await text.close() })
  const words = await text.encode('river stone', { addSpecialTokens: false })

  t.test('is greedy, stops at the end token and does not show it', async t => {
    const requests: GenerationRequest[] = []
    const target = new ServiceAnswering(serviceOf(request => {
      requests.push(request)
      return [...[...words, END].map(token => tokenEvent(request.id, token)), finish(request.id, 'stop', END)]
    }), text)
    t.same(await target.answer([1, 2, 3], 9), { text: 'river stone', ended: true })
    await target.answer([1], 1)
    const [request, second] = requests
    t.same(request?.promptTokens, [1, 2, 3])
    t.equal(request?.maxTokens, 9)
    t.equal(request?.choices[0]?.sampling.temperature, 0)
    t.same(request?.stopTokens, [END])
    t.not(second?.id, request?.id)
  })

  t.test('running into the limit is not an end', async t => {
    const target = new ServiceAnswering(serviceOf(({ id }) => [...words.map(token => tokenEvent(id, token)), finish(id, 'length')]), text)
    t.same(await target.answer([1], 2), { text: 'river stone', ended: false })
  })

  t.test('an error is an error, and so is a stream that stops in the middle', async t => {
    await t.rejects(new ServiceAnswering(serviceOf(({ id }) => [finish(id, 'error')]), text).answer([1, 2], 2), {
      code: 'EVAL_REQUEST_FAILED', message: /the device is lost/, details: { promptTokens: 2 }
    })
    await t.rejects(new ServiceAnswering(serviceOf(({ id }) => [tokenEvent(id, 3)]), text).answer([1], 2), { code: 'EVAL_REQUEST_FAILED' })
  })

  t.test('runEval takes a service as it is', async t => {
    const report = await runEval(serviceOf(({ id }) => [tokenEvent(id, END), finish(id, 'stop', END)]), text, { tasks: ['talk'], samples: 2 })
    t.match(report, { target: 'in process', tasks: [{ task: 'talk', documents: 2, answers: 2, correct: 0 }] })
  })
})

type Handler = (request: IncomingMessage, body: string, response: ServerResponse) => void

async function serverOf (t: Test, handler: Handler): Promise<string> {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => { body += chunk }).on('end', () => { handler(request, body, response) })
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  const address: AddressInfo | string | null = server.address()
  if (address === null || typeof address === 'string') throw new Error('not listening on a port')
  return `http://127.0.0.1:${address.port}`
}

const send = (response: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
}
const models = { object: 'list', data: [{ id: 'first', max_model_len: 4096 }, { id: 'second' }] }

t.test('asking a server', async t => {
  t.test('finds the model, sends token ids greedily and reads text and finish reason', async t => {
    const seen: Array<{ url: string | undefined, body: unknown }> = []
    const url = await serverOf(t, (request, body, response) => {
      if (request.method === 'GET') return send(response, 200, models)
      seen.push({ url: request.url, body: JSON.parse(body) })
      send(response, 200, { choices: [{ text: '42', finish_reason: seen.length === 1 ? 'stop' : 'length' }] })
    })
    const target = await ServerAnswering.connect(`${url}/v1/`, undefined)
    t.equal(target.model, 'first')
    t.equal(target.maxModelLen, 4096)
    t.same(await target.answer([5, 6], 3), { text: '42', ended: true })
    t.same(await target.answer([5, 6], 3), { text: '42', ended: false })
    t.same(seen[0], { url: '/v1/completions', body: { model: 'first', prompt: [5, 6], max_tokens: 3, temperature: 0 } })
    t.equal((await ServerAnswering.connect(url, 'second')).maxModelLen, undefined)
    await t.rejects(ServerAnswering.connect(url, 'third'), { code: 'EVAL_REQUEST_FAILED', message: /first, second, not third/ })
  })

  t.test('asks a busy server again', async t => {
    let asked = 0
    const url = await serverOf(t, (request, _, response) => {
      if (request.method === 'GET') return send(response, 200, models)
      if (++asked < 3) return send(response, asked === 1 ? 429 : 503, { error: { message: 'busy' } }, { 'retry-after': '0' })
      send(response, 200, { choices: [{ text: 'at last', finish_reason: 'stop' }] })
    })
    t.same(await (await ServerAnswering.connect(url, undefined)).answer([1], 1), { text: 'at last', ended: true })
    t.equal(asked, 3)
  })

  t.test('passes on what the server says is wrong', async t => {
    const url = await serverOf(t, (request, _, response) => {
      if (request.method === 'GET') return send(response, 200, models)
      send(response, 400, { error: { message: 'too long', type: 'invalid_request_error', param: null, code: 'context_length_exceeded' } })
    })
    const target = await ServerAnswering.connect(url, undefined)
    await t.rejects(target.answer([1, 2, 3], 1), { code: 'EVAL_REQUEST_FAILED', message: /3 tokens.*too long/, details: { status: 400 } })
  })

  t.test('says so when there is no server, or something else', async t => {
    const url = await serverOf(t, (_, __, response) => { response.end('<html>') })
    await t.rejects(ServerAnswering.connect(url, undefined), { code: 'EVAL_REQUEST_FAILED', message: /not the expected reply/ })
    await t.rejects(ServerAnswering.connect('http://127.0.0.1:1', undefined), { code: 'EVAL_REQUEST_FAILED', message: /no answer from http:\/\/127\.0\.0\.1:1/ })
  })
})
