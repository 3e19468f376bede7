import { on, once } from 'node:events'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { DaybreakProcess, serverTest } from './daybreak-process.ts'

const model = 'daybreak-mini'
/** So few that a fifth request waits. */
const MAX_SEQUENCES = 4
const server = await DaybreakProcess.start(['--max-num-seqs', String(MAX_SEQUENCES)])
/** Goes on until it is stopped, as far as a test is concerned. */
const endless = { model, prompt: 'Once upon a time', max_tokens: 8_000, temperature: 0, ignore_eos: true, stream: true }

const Frame = z.object({
  type: z.enum(['chunk', 'done', 'error']),
  id: z.string(),
  data: z.object({
    choices: z.array(z.object({ text: z.string(), finish_reason: z.string().nullable() })),
    usage: z.object({ prompt_tokens: z.number(), completion_tokens: z.number() }).nullish()
  }).optional()
})

serverTest('two requests share a WebSocket, token by token; one is cancelled and the other is not', server, async (t, server) => {
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/v1/completions`)
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  const send = (frame: object): void => socket.send(JSON.stringify(frame))
  send({ type: 'request', id: 'a', body: { ...endless, max_tokens: 24, stream_options: { include_usage: true } } })
  send({ type: 'request', id: 'b', body: endless })
  const order: string[] = []
  const text = new Map([['a', ''], ['b', '']])
  let usage
  for await (const [data] of on(socket, 'message')) {
    const frame = Frame.parse(JSON.parse(String(data)))
    order.push(frame.type === 'chunk' ? frame.id : `${frame.type} ${frame.id}`)
    text.set(frame.id, (text.get(frame.id) ?? '') + (frame.data?.choices[0]?.text ?? ''))
    if (frame.id === 'a') usage = frame.data?.usage ?? usage
    if (frame.id === 'b' && order.filter(id => id === 'b').length === 8) send({ type: 'cancel', id: 'b' })
    if (order.includes('done a') && order.includes('done b')) break
  }
  const beforeCancel = order.slice(0, order.indexOf('done b'))
  t.ok(beforeCancel.includes('a') && order.lastIndexOf('a') > order.indexOf('b'), 'their chunks were mixed')
  t.ok(text.get('a')?.startsWith(text.get('b') ?? '?') === true || text.get('b')?.startsWith(text.get('a') ?? '?') === true, 'greedy, the same prompt: the same text')
  t.match(usage, { completion_tokens: 24 })
  const metrics = await server.idle()
  t.equal(metrics.value('daybreak_aborts_total', { phase: 'decode', cause: 'cancel' }), 1)
})

serverTest('the counters grow by what the answers\' usage says', server, async (t, server) => {
  const before = await server.idle()
  const { client } = server
  const prompt = 'One day, Lily went to the park with her mom and saw a big red ball under a tall tree.'
  const stories = await Promise.all([3, 5, 8, 13].map(async (maxTokens, seed) =>
    await client.completions.create({ model, prompt: `${prompt} It was ${seed}.`, max_tokens: maxTokens, temperature: 1, seed, n: 1 + seed % 2, ...{ ignore_eos: true } })))
  const again = await client.completions.create({ model, prompt: `${prompt} It was 0.`, max_tokens: 3 })
  const sum = await client.chat.completions.create({ model, messages: [{ role: 'user', content: '12 + 30 = ?' }], temperature: 0 })
  const usages = [...stories, again, sum].map(({ usage }) => usage)
  const total = (read: (usage: NonNullable<typeof usages[number]>) => number | undefined): number =>
    usages.reduce((sum, usage) => sum + (usage === undefined ? 0 : read(usage) ?? 0), 0)
  const after = await server.idle()
  const grown = (name: string, labels?: Readonly<Record<string, string>>): number => after.value(name, labels) - before.value(name, labels)
  const cached = total(usage => usage.prompt_tokens_details?.cached_tokens)

  t.ok(cached >= 16, `${cached} tokens came from the cache`)
  t.equal(grown('vllm:prompt_tokens_total'), total(usage => usage.prompt_tokens))
  t.equal(grown('vllm:generation_tokens_total'), total(usage => usage.completion_tokens))
  t.equal(grown('vllm:prompt_tokens_cached_total'), cached)
  t.equal(grown('vllm:prompt_tokens_by_source_total', { source: 'local_cache_hit' }), cached)
  t.equal(grown('vllm:prompt_tokens_by_source_total'), total(usage => usage.prompt_tokens))
  t.equal(grown('vllm:request_success_total', { finished_reason: 'stop' }), 1)
  t.equal(grown('vllm:request_success_total', { finished_reason: 'length' }), 7, 'one for every choice')
  t.equal(grown('http_requests_total', { handler: '/v1/completions', status: '2xx' }), 5)
  const growth = (name: string, key: 'count' | 'sum'): number => after.histogram(name)[key] - before.histogram(name)[key]
  t.equal(growth('vllm:time_to_first_token_seconds', 'count'), 8)
  t.equal(growth('vllm:request_generation_tokens', 'sum'), total(usage => usage.completion_tokens))
  t.ok(growth('vllm:iteration_tokens_total', 'sum') >= total(usage => usage.completion_tokens))
  t.ok(growth('daybreak_step_device_seconds', 'sum') > 0)
})

for (const phase of ['queued', 'prefill', 'decode'] as const) {
  serverTest(`a client that leaves during ${phase} has all its blocks freed`, server, async (t, server) => {
    const aborts = (metrics: Awaited<ReturnType<DaybreakProcess['metrics']>>): number => metrics.value('daybreak_aborts_total', { phase, cause: 'disconnect' })
    const before = await server.idle()
    const others = phase === 'queued' ? await Promise.all(Array.from({ length: MAX_SEQUENCES }, async () => await startedStream(server))) : []
    const controller = new AbortController()
    // 4,000 tokens take seconds to compute.
    const prompt = phase === 'prefill' ? Array.from({ length: 4_000 }, (_, i) => i % 1_000) : endless.prompt
    const response = await server.post('/v1/completions', { ...endless, prompt, max_tokens: 4_000 }, controller.signal)
    t.equal(response.status, 200)
    if (phase === 'decode') await firstToken(response)
    else {
      const held = await server.metricsOnce(metrics => metrics.value(phase === 'queued' ? 'vllm:num_requests_waiting' : 'vllm:num_requests_running') === 1)
      t.ok(held.value('vllm:kv_cache_usage_perc') > 0)
    }
    controller.abort()
    const noticed = await server.metricsOnce(metrics => aborts(metrics) > aborts(before))
    t.equal(aborts(noticed), aborts(before) + 1)
    if (phase === 'queued') {
      const left = await server.metricsOnce(metrics => metrics.value('vllm:num_requests_waiting') === 0)
      t.equal(left.value('vllm:num_requests_running'), MAX_SEQUENCES, 'the others go on')
    }
    for (const other of others) other.abort()
    const after = await server.idle()
    t.equal(after.value('vllm:kv_cache_usage_perc'), 0)
  })
}

serverTest('on SIGTERM the server takes nothing new, finishes its streams, and exits with 0', server, async (t, server) => {
  const response = await server.post('/v1/completions', { ...endless, max_tokens: 150 })
  const body = response.text()
  await server.metricsOnce(metrics => metrics.value('vllm:num_requests_running') === 1)
  server.signal('SIGTERM')
  await server.logged('draining')
  t.equal(await server.probe('/ready'), '503 draining')
  t.equal(await server.probe('/health'), '200 ok')
  t.equal((await server.post('/v1/completions', { ...endless, max_tokens: 1 })).status, 503)
  const text = await body
  t.match(text, /"finish_reason":"length"/)
  t.ok(text.trimEnd().endsWith('data: [DONE]'))
  t.equal(await server.exited(), 0)
  t.throws(() => process.kill(server.enginePid, 0), 'the engine process has gone too')
})

/** A stream that has its first token. */
async function startedStream (server: DaybreakProcess): Promise<AbortController> {
  const controller = new AbortController()
  await firstToken(await server.post('/v1/completions', endless, controller.signal))
  return controller
}

/** Where that takes long, comments that keep the stream alive come before it. */
async function firstToken ({ body }: Response): Promise<void> {
  const reader = body?.getReader()
  for (let text = ''; !text.includes('data: ');) {
    const { value } = await reader?.read() ?? {}
    if (value === undefined) throw new Error('the stream has ended without a token')
    text += Buffer.from(value).toString()
  }
}
