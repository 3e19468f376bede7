import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toFile } from 'openai'
import type OpenAI from 'openai'
import t from 'tap'
import type { Test } from 'tap'
import { hasEnded } from '../../../apps/server/src/batches/index.ts'
import type { Batch } from '../../../apps/server/src/batches/index.ts'
import type { FakeStream } from '../../fakes/fake-generation-service.ts'
import { fakeCapacity, says } from '../../fakes/fake-generation-service.ts'
import { aServer } from '../server-under-test.ts'
import type { ServerUnderTest, ServerUnderTestOptions } from '../server-under-test.ts'

const PATH = '/v1/completions'
const NUM_PLACES = 2 * fakeCapacity.maxSequences

/** A server whose engine answers what the test answers. */
async function aBatchServer (t: Test, options: ServerUnderTestOptions = {}): Promise<ServerUnderTest & { readonly dataFolder: string }> {
  const dataFolder = options.dataFolder ?? t.testdir({})
  return { ...await aServer(t, { script: () => {}, ...options, dataFolder }), dataFolder }
}

/** Each batch asks for another number of tokens, by which its lines are known in the engine. */
async function submit (client: OpenAI, numLines: number, maxTokens: number): Promise<OpenAI.Batch> {
  const lines = Array.from({ length: numLines }, (_, i) => JSON.stringify({ custom_id: `${i}`, method: 'POST', url: PATH, body: { prompt: `line ${i}`, max_tokens: maxTokens } }))
  const { id } = await client.files.create({ file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'), purpose: 'batch' })
  return await client.batches.create({ input_file_id: id, endpoint: PATH, completion_window: '24h' })
}

const openOf = ({ generation }: ServerUnderTest, maxTokens: number): FakeStream[] => generation.streams.filter(({ request, released }) => !released && request.maxTokens === maxTokens)

async function until (condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!await condition()) await new Promise(resolve => setImmediate(resolve))
}

/** Answers the oldest open line of a batch, and waits for what comes in its place. */
async function answerOne (server: ServerUnderTest, maxTokens: number): Promise<void> {
  const numStreams = server.generation.streams.length
  const [oldest] = openOf(server, maxTokens)
  if (oldest === undefined) throw new Error(`no line of ${maxTokens} tokens is open`)
  says('answer')(oldest)
  await server.generation.stream(numStreams)
}

async function ended (client: OpenAI, { id }: OpenAI.Batch): Promise<OpenAI.Batch> {
  await until(async () => hasEnded(await client.batches.retrieve(id) as Batch))
  return await client.batches.retrieve(id)
}

async function namesOf (client: OpenAI, { output_file_id: id }: OpenAI.Batch): Promise<number[]> {
  const text = await (await client.files.content(id ?? '')).text()
  return text.trimEnd().split('\n').map(line => Number((JSON.parse(line) as { custom_id: string }).custom_id)).sort((a, b) => a - b)
}

const numbered = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

t.test('a batch of 10 lines ends while one of 1,000 is running', async t => {
  const server = await aBatchServer(t)
  const { client } = server
  const large = await submit(client, 1_000, 8)
  await until(() => openOf(server, 8).length === NUM_PLACES)
  const small = await submit(client, 10, 4)
  await until(async () => (await client.batches.retrieve(small.id)).status === 'in_progress')
  // What the large one has it keeps; every place that is left is the small one's.
  while (openOf(server, 4).length < 10) await answerOne(server, 8)
  for (const stream of openOf(server, 4)) says('answer')(stream)
  const done = await ended(client, small)
  t.match(done, { status: 'completed', request_counts: { total: 10, completed: 10 } })
  t.strictSame(await namesOf(client, done), numbered(10))
  const { status, request_counts: counts } = await client.batches.retrieve(large.id)
  t.equal(status, 'in_progress')
  t.ok((counts?.completed ?? 0) < NUM_PLACES, `${counts?.completed} lines of the large one were answered in the meantime`)
  await until(() => openOf(server, 8).length === NUM_PLACES)
  t.pass('and its share goes back')
})

t.test('batches have equal shares of what is open, and one that is cancelled gives its own back', async t => {
  const server = await aBatchServer(t)
  const { client } = server
  const sizes = [8, 6, 4, 2]
  const batches: OpenAI.Batch[] = []
  for (const maxTokens of sizes) {
    const batch = await submit(client, 100, maxTokens)
    await until(async () => (await client.batches.retrieve(batch.id)).status === 'in_progress')
    batches.push(batch)
  }
  await until(() => openOf(server, 8).length === NUM_PLACES)
  const shares = (): number[] => sizes.map(maxTokens => openOf(server, maxTokens).length)
  for (let i = 0; i < 2 * NUM_PLACES; i++) await answerOne(server, sizes.reduce((a, b) => openOf(server, b).length > openOf(server, a).length ? b : a))
  t.strictSame(shares(), [8, 8, 8, 8])
  const cancelled = await client.batches.cancel(batches[0]?.id ?? '')
  await until(() => shares().reduce((sum, share) => sum + share) === NUM_PLACES && openOf(server, 8).length === 0)
  t.strictSame(shares().map(String).sort(), ['0', '10', '11', '11'])
  await ended(client, cancelled)
})

t.test('of more batches than run at the same time the oldest run, and the next begins when one has ended', async t => {
  const server = await aBatchServer(t, { config: { maxRunningBatches: 2 } })
  const { client } = server
  const batches = [await submit(client, 3, 8), await submit(client, 3, 6), await submit(client, 3, 4)]
  await until(() => openOf(server, 8).length === 3 && openOf(server, 6).length === 3)
  t.match(await client.batches.retrieve(batches[2]?.id ?? ''), { status: 'validating' })
  for (const stream of openOf(server, 6)) says('answer')(stream)
  await until(() => openOf(server, 4).length === 3)
  t.equal(openOf(server, 8).length, 3)
})

t.test('after its process has ended with two batches open, both go on behind the lines that are answered', async t => {
  const first = await aBatchServer(t)
  const batches = [await submit(first.client, 12, 8), await submit(first.client, 9, 6)]
  await until(() => openOf(first, 8).length === 12 && openOf(first, 6).length === 9)
  for (const maxTokens of [8, 6]) for (const stream of openOf(first, maxTokens).slice(0, 5)) says('answer')(stream)
  for (const { id } of batches) await until(async () => (await first.client.batches.retrieve(id)).request_counts?.completed === 5)
  await first.app.close()
  for (const { id } of batches) {
    // The last line was being written, and another process would have found half of it.
    const log = join(first.dataFolder, 'batches', id, 'output.jsonl')
    const whole = await readFile(log, 'utf8')
    await writeFile(log, whole.slice(0, whole.lastIndexOf('{"id"') + 30))
  }
  const second = await aBatchServer(t, { dataFolder: first.dataFolder, script: says('after') })
  for (const [i, numLines] of [12, 9].entries()) {
    const batch = batches[i]
    if (batch === undefined) continue
    const done = await ended(second.client, batch)
    t.match(done, { status: 'completed', request_counts: { total: numLines, completed: numLines, failed: 0 } })
    t.strictSame(await namesOf(second.client, done), numbered(numLines))
  }
  t.equal(second.generation.streams.length, 8 + 5, 'no line is computed twice')
})
