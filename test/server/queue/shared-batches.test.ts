import { toFile } from 'openai'
import type OpenAI from 'openai'
import type { Test } from 'tap'
import { hasEnded } from '../../../apps/server/src/batches/index.ts'
import type { Batch } from '../../../apps/server/src/batches/index.ts'
import { batchKeys } from '../../../apps/server/src/queue/queue-names.ts'
import { says } from '../../fakes/fake-generation-service.ts'
import type { FakeStream } from '../../fakes/fake-generation-service.ts'
import { MetricsSnapshot } from '../../e2e/metrics-snapshot.ts'
import { aServer } from '../server-under-test.ts'
import type { ServerUnderTest, ServerUnderTestOptions } from '../server-under-test.ts'
import { redisTest } from './redis-server.ts'
import type { RedisServer } from './redis-server.ts'

const PATH = '/v1/completions'
/** No lease runs out in a test: whatever goes on goes on for another reason. */
const NEVER_MS = 3_600_000

/** Nothing is answered unless the test does. */
const byHand = (): void => {}

interface Result { readonly custom_id: string, readonly response: { readonly status_code: number, readonly body: { readonly choices: ReadonlyArray<{ readonly text: string }> } } | null, readonly error: { readonly code: string } | null }

async function onQueue (t: Test, redis: RedisServer, options: ServerUnderTestOptions = {}): Promise<ServerUnderTest> {
  return await aServer(t, { script: says('answer'), ...options, queue: { url: redis.url, leaseMs: NEVER_MS, ...options.queue } })
}

async function submit (client: OpenAI, numLines: number, more: Partial<OpenAI.BatchCreateParams> = {}, body: object = {}): Promise<OpenAI.Batch> {
  const lines = Array.from({ length: numLines }, (_, i) => JSON.stringify({ custom_id: `line ${i}`, method: 'POST', url: PATH, body: { prompt: `this is line ${i}`, max_tokens: 8, ...body } }))
  const { id } = await client.files.create({ file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'), purpose: 'batch' })
  return await client.batches.create({ input_file_id: id, endpoint: PATH, completion_window: '24h', ...more })
}

/** Answers what is asked from now on, until the end of the test. */
function answerAll (t: Test, { generation }: ServerUnderTest): void {
  const timer = setInterval(() => { for (const stream of generation.streams) if (!stream.released) says('answer')(stream) }, 5)
  t.teardown(() => { clearInterval(timer) })
}

async function until<Value> (look: () => Value | Promise<Value>, isIt: (value: Value) => boolean): Promise<Value> {
  for (;;) {
    const value = await look()
    if (isIt(value)) return value
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

async function ended (client: OpenAI, { id }: { readonly id: string }): Promise<OpenAI.Batch> {
  return await until(async () => await client.batches.retrieve(id), batch => hasEnded(batch as Batch))
}

async function resultsOf (client: OpenAI, fileId: string | undefined | null): Promise<Result[]> {
  if (fileId == null) return []
  return (await (await client.files.content(fileId)).text()).trimEnd().split('\n').map(line => JSON.parse(line) as Result)
}

const namesOf = (results: readonly Result[]): string[] => results.map(({ custom_id: id }) => id).sort()
const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `line ${i}`).sort()

async function metricsOf ({ url }: ServerUnderTest): Promise<MetricsSnapshot> {
  return new MetricsSnapshot(await (await fetch(`${url}/metrics`)).text())
}

redisTest('two servers share a batch, and its owner writes every line once', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const batch = await submit(owner.client, 300)
  await owner.generation.stream(0)
  const other = await onQueue(t, redis)
  await until(() => other.generation.streams.length, numStreams => numStreams > 0)
  answerAll(t, owner)
  const done = await ended(owner.client, batch)
  t.match(done, { status: 'completed', request_counts: { total: 300, completed: 300, failed: 0 } })
  const results = await resultsOf(owner.client, done.output_file_id)
  t.strictSame(namesOf(results), numbered(300))
  t.ok(results.every(({ response }) => response?.body.choices[0]?.text === 'answer'))
  t.ok(owner.generation.streams.length > 0 && other.generation.streams.length > 0)
  t.equal(owner.generation.streams.length + other.generation.streams.length, 300, 'no line is computed twice')
  const [mine, its] = [await metricsOf(owner), await metricsOf(other)]
  t.equal(mine.value('daybreak_queue_answers_total', { what: 'collected' }), 300)
  t.equal(mine.value('daybreak_queue_answers_total', { what: 'sent' }) + its.value('daybreak_queue_answers_total', { what: 'sent' }), 300)
  t.equal(its.value('daybreak_queue_connected'), 1)
  t.match(await redis.ask(`EXISTS ${Object.values(batchKeys(batch.id)).join(' ')}`), /^:0/, 'nothing of it is left in Redis')
})

redisTest('a server that drains gives back at once what it has, for others to go on with', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const batch = await submit(owner.client, 40)
  // The owner has the only chunk.
  await owner.generation.stream(9)
  const worker = await onQueue(t, redis, { script: byHand })
  for (const stream of owner.generation.streams.slice(0, 10)) says('answer')(stream)
  await until(async () => await owner.client.batches.retrieve(batch.id), ({ request_counts: counts }) => counts?.completed === 10)
  await owner.app.close()
  await worker.generation.stream(29)
  t.ok(owner.generation.streams.every(({ released }) => released), 'and generates nothing more')
  t.equal(worker.generation.streams.length, 30, 'what is answered is not answered again')
})

redisTest('a server whose lease has run out stops, and the chunk goes to whoever is there', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand, queue: { url: redis.url, leaseMs: 1000 } })
  const batch = await submit(owner.client, 20)
  await owner.generation.stream(19)
  await redis.ask(`DEL daybreak:v1-fake:${batch.id}-0:lock`)
  await until(() => owner.generation.streams.slice(0, 20).every(({ aborted }) => aborted), isAborted => isAborted)
  answerAll(t, owner)
  t.match(await ended(owner.client, batch), { status: 'completed', request_counts: { total: 20, completed: 20 } })
  t.equal(owner.generation.streams.length, 40)
  t.ok((await metricsOf(owner)).value('daybreak_queue_chunks_stalled_total') >= 1)
})

redisTest('an owner that starts again goes on with what was answered in between', async (t, redis) => {
  const dataFolder = t.testdir({})
  const owner = await onQueue(t, redis, { dataFolder, script: byHand })
  const batch = await submit(owner.client, 200)
  await until(async () => await redis.ask('LLEN daybreak:v1-fake:wait') + await redis.ask('LLEN daybreak:v1-fake:active'), lengths => lengths === ':2\r\n:2\r\n')
  await owner.app.close()
  const worker = await onQueue(t, redis)
  await until(async () => await redis.ask(`XLEN ${batchKeys(batch.id).answers}`), length => length.startsWith(':200'))
  const again = await onQueue(t, redis, { dataFolder, script: byHand })
  const done = await ended(again.client, batch)
  t.match(done, { status: 'completed', request_counts: { total: 200, completed: 200 } })
  t.strictSame(namesOf(await resultsOf(again.client, done.output_file_id)), numbered(200))
  t.equal(worker.generation.streams.length, 200)
  t.equal(again.generation.streams.length, 0)
})

redisTest('a batch that is cancelled stops on all servers, and keeps the answers it has', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const batch = await submit(owner.client, 150)
  await owner.generation.stream(0)
  const worker = await onQueue(t, redis, { script: byHand })
  const streams: FakeStream[] = [await owner.generation.stream(0), await worker.generation.stream(0)]
  for (const stream of streams) says('yes')(stream)
  await until(async () => await owner.client.batches.retrieve(batch.id), ({ request_counts: counts }) => counts?.completed === 2)
  await owner.client.batches.cancel(batch.id)
  const done = await ended(owner.client, batch)
  t.match(done, { status: 'cancelled', request_counts: { total: 150, completed: 2, failed: 0 } })
  await until(() => [owner, worker].every(({ generation }) => generation.streams.every(({ released }) => released)), isReleased => isReleased)
  const next = await submit(owner.client, 1)
  await until(() => [owner, worker].some(({ generation }) => generation.streams.some(({ released }) => !released)), isRunning => isRunning)
  for (const { generation } of [owner, worker]) for (const stream of generation.streams) if (!stream.released) says('next')(stream)
  t.match(await ended(owner.client, next), { status: 'completed' }, 'and the next has its turn')
})

redisTest('a batch of 10 lines ends while one of 1,000 is in the queue', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const openOf = (maxTokens: number): FakeStream[] => owner.generation.streams.filter(({ request, released }) => !released && request.maxTokens === maxTokens)
  const large = await submit(owner.client, 1_000)
  await until(async () => await redis.ask('LLEN daybreak:v1-fake:wait'), length => length === ':2\r\n')
  const small = await submit(owner.client, 10, {}, { max_tokens: 6 })
  await until(() => {
    for (const stream of openOf(8).slice(0, 8)) says('yes')(stream)
    return openOf(6).length
  }, numOpen => numOpen === 10)
  for (const stream of openOf(6)) says('yes')(stream)
  const done = await ended(owner.client, small)
  t.match(done, { status: 'completed', request_counts: { completed: 10 } })
  t.strictSame(namesOf(await resultsOf(owner.client, done.output_file_id)), numbered(10))
  const { status, request_counts: counts } = await owner.client.batches.retrieve(large.id)
  t.equal(status, 'in_progress')
  t.ok((counts?.completed ?? 0) < 500, `${counts?.completed} lines of the large one were answered in the meantime`)
  answerAll(t, owner)
  const all = await ended(owner.client, large)
  t.match(all, { status: 'completed', request_counts: { completed: 1_000 } })
  t.strictSame(namesOf(await resultsOf(owner.client, all.output_file_id)), numbered(1_000))
  t.equal(owner.generation.streams.length, 1_010, 'no line is computed twice')
})

redisTest('an answer that is delivered twice is written once, and what is no answer not at all', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const batch = await submit(owner.client, 3)
  await owner.generation.stream(2)
  const send = async (text: string): Promise<void> => { await redis.ask(`XADD ${batchKeys(batch.id).answers} * answer ${JSON.stringify(text)}`) }
  const answer = JSON.stringify({ number: 2, requestId: 'req_x', status: 200, body: { choices: [{ text: 'early' }] } })
  for (const text of [answer, '{', answer, JSON.stringify({ number: 99, requestId: 'req_y', status: 200, body: {} })]) await send(text)
  await until(async () => await owner.client.batches.retrieve(batch.id), ({ request_counts: counts }) => counts?.completed === 1)
  for (const stream of owner.generation.streams) says('late')(stream)
  const done = await ended(owner.client, batch)
  const results = await resultsOf(owner.client, done.output_file_id)
  t.strictSame(results.map(({ custom_id: id, response }) => [id, response?.body.choices[0]?.text]).sort(), [['line 0', 'late'], ['line 1', 'early'], ['line 2', 'late']])
  t.ok((await metricsOf(owner)).value('daybreak_queue_answers_total', { what: 'repeated' }) >= 2)
})

redisTest('a Redis that ends and starts again holds up a batch, and nobody else', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const batch = await submit(owner.client, 30)
  await owner.generation.stream(29)
  for (const stream of owner.generation.streams.slice(0, 10)) says('answer')(stream)
  await until(async () => await owner.client.batches.retrieve(batch.id), ({ request_counts: counts }) => counts?.completed === 10)
  await redis.kill()
  for (const stream of owner.generation.streams.slice(10, 30)) says('answer')(stream)
  const live = owner.client.completions.create({ model: 'fake', prompt: 'somebody waits', max_tokens: 8 })
  says('here')(await owner.generation.stream(30))
  t.equal((await live).choices[0]?.text, 'here')
  t.equal((await fetch(`${owner.url}/ready`)).status, 200)
  t.match(await owner.client.batches.retrieve(batch.id), { status: 'in_progress', request_counts: { completed: 10 } })
  await redis.restart()
  // Its last second is lost, and with it perhaps all that it had of this batch.
  answerAll(t, owner)
  t.match(await ended(owner.client, batch), { status: 'completed', request_counts: { completed: 30 } })
})

redisTest('a Redis that has forgotten everything is given it again', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const batch = await submit(owner.client, 100)
  await owner.generation.stream(31)
  for (const stream of owner.generation.streams) says('answer')(stream)
  await until(async () => await owner.client.batches.retrieve(batch.id), ({ request_counts: counts }) => (counts?.completed ?? 0) >= 32)
  await redis.ask('FLUSHALL')
  answerAll(t, owner)
  const done = await ended(owner.client, batch)
  t.match(done, { status: 'completed', request_counts: { total: 100, completed: 100, failed: 0 } })
  t.strictSame(namesOf(await resultsOf(owner.client, done.output_file_id)), numbered(100))
})

redisTest('an answer that Redis has lost is found again', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const { id } = await submit(owner.client, 2)
  await owner.generation.stream(1)
  // As if it had been sent, and nobody had it.
  await redis.ask(`SETBIT ${batchKeys(id).answered} 2 1`)
  for (const stream of owner.generation.streams) says('answer')(stream)
  says('answer')(await owner.generation.stream(2))
  t.match(await ended(owner.client, { id }), { status: 'completed', request_counts: { total: 2, completed: 2 } })
})

redisTest('a server takes only batches of models that it has', async (t, redis) => {
  const owner = await onQueue(t, redis, { dataFolder: t.testdir({}), script: byHand })
  const stranger = await onQueue(t, redis, { modelId: 'another' })
  const namesake = await onQueue(t, redis, { modelId: 'third', config: { servedModelNames: ['fake'] } })
  const batch = await submit(owner.client, 200)
  await until(() => namesake.generation.streams.length, numStreams => numStreams > 0)
  answerAll(t, owner)
  t.match(await ended(owner.client, batch), { status: 'completed', request_counts: { completed: 200 } })
  t.equal(stranger.generation.streams.length, 0)
  const refused = await ended(owner.client, await submit(owner.client, 1, {}, { model: 'unknown' }))
  t.match(refused, { request_counts: { total: 1, completed: 0, failed: 1 } }, 'and one that its own server does not have is refused, as ever')
})

redisTest('something in the queue that is no chunk is dropped, and said', async (t, redis) => {
  const worker = await onQueue(t, redis)
  const key = 'daybreak:v1-fake'
  await redis.ask(`HSET ${key}:odd name chunk data "{}" opts "{}" timestamp 1 delay 0 priority 0`)
  await redis.ask(`LPUSH ${key}:wait odd`)
  await redis.ask(`ZADD ${key}:marker 0 0`)
  await until(() => worker.logLines.some(line => line.includes('chunk-not-understood')), hasSaid => hasSaid)
  t.equal(worker.generation.streams.length, 0)
})
