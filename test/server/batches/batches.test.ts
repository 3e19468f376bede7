import { appendFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toFile } from 'openai'
import type OpenAI from 'openai'
import t from 'tap'
import type { Test } from 'tap'
import { hasEnded } from '../../../apps/server/src/batches/index.ts'
import type { FakeStream } from '../../fakes/fake-generation-service.ts'
import { says } from '../../fakes/fake-generation-service.ts'
import { aServer, refusalOf, userSays } from '../server-under-test.ts'
import type { ServerUnderTestOptions } from '../server-under-test.ts'

async function aBatchServer (t: Test, options: ServerUnderTestOptions = {}) {
  const dataFolder = options.dataFolder ?? t.testdir({})
  return { ...await aServer(t, { script: says('answer'), ...options, dataFolder }), dataFolder }
}

/** Nothing is answered unless the test does. */
const byHand = (): void => {}

const answer = (stream: FakeStream | undefined, text: string): void => { if (stream !== undefined) says(text)(stream) }

const CHAT = '/v1/chat/completions' as const
type Body = Record<string, unknown>

const chatLine = (customId: string, body: Body = {}, line: Body = {}): Body =>
  ({ custom_id: customId, method: 'POST', url: CHAT, body: { model: 'fake', messages: userSays(`this is ${customId}`), max_tokens: 8, ...body }, ...line })

const jsonl = (lines: readonly unknown[]): string => lines.map(line => typeof line === 'string' ? line : JSON.stringify(line)).join('\n') + '\n'

async function submit (client: OpenAI, lines: readonly unknown[] | string, more: Partial<OpenAI.BatchCreateParams> = {}): Promise<OpenAI.Batch> {
  const text = typeof lines === 'string' ? lines : jsonl(lines)
  const { id } = await client.files.create({ file: await toFile(Buffer.from(text), 'in.jsonl'), purpose: 'batch' })
  return await client.batches.create({ input_file_id: id, endpoint: CHAT, completion_window: '24h', ...more })
}

async function ended (client: OpenAI, { id }: { id: string }): Promise<OpenAI.Batch> {
  for (;;) {
    const batch = await client.batches.retrieve(id)
    if (hasEnded(batch as Parameters<typeof hasEnded>[0])) return batch
    await new Promise(resolve => setImmediate(resolve))
  }
}

interface AnswerBody {
  choices: Array<{ message: { content: string } }>
  usage: { total_tokens: number }
  error: { param: string }
}

interface Result { id: string, custom_id: string, response: { status_code: number, request_id: string, body: AnswerBody } | null, error: { code: string } | null }

async function resultsOf (client: OpenAI, fileId: string | undefined | null): Promise<Result[]> {
  if (fileId == null) return []
  const text = await (await client.files.content(fileId)).text()
  return text.split('\n').filter(line => line !== '').map(line => JSON.parse(line) as Result)
}

t.test('every line is answered once, under its id, in a file of the batch', async t => {
  const { client, generation } = await aBatchServer(t)
  const batch = await submit(client, Array.from({ length: 50 }, (_, i) => chatLine(`line ${i}`)), { metadata: { job: 'nightly' } })
  t.match(batch, { object: 'batch', status: 'validating', endpoint: CHAT, completion_window: '24h', metadata: { job: 'nightly' }, request_counts: { total: 0 } })
  const done = await ended(client, batch)
  t.match(done, { status: 'completed', model: 'fake', request_counts: { total: 50, completed: 50, failed: 0 }, errors: null })
  t.notOk(done.error_file_id)
  for (const time of [done.in_progress_at, done.finalizing_at, done.completed_at, done.expires_at]) t.type(time, 'number')
  const results = await resultsOf(client, done.output_file_id)
  t.strictSame(results.map(result => result.custom_id).sort(), Array.from({ length: 50 }, (_, i) => `line ${i}`).sort())
  for (const { id, response, error } of results) {
    t.match(id, /^batch_req_[0-9a-f]{32}$/)
    t.match(response, { status_code: 200, request_id: /^req_/, body: { object: 'chat.completion', choices: [{ message: { content: 'answer' } }] } })
    t.equal(error, null)
  }
  const tokens = results.reduce((sum, { response }) => sum + (response?.body.usage.total_tokens ?? 0), 0)
  t.equal(done.usage?.total_tokens, tokens)
  t.ok(generation.streams.every(({ request }) => request.background), 'nobody waits for them')
  t.match(await client.files.retrieve(done.output_file_id ?? ''), { purpose: 'batch_output', filename: `${batch.id}_output.jsonl` })
})

t.test('a request that is refused is in the error file, with its status, and the others are answered', async t => {
  const { client } = await aBatchServer(t)
  const done = await ended(client, await submit(client, [chatLine('a'), chatLine('b', { temperature: 99 }), chatLine('c', { messages: [] }), chatLine('d')]))
  t.match(done, { status: 'completed', request_counts: { total: 4, completed: 2, failed: 2 } })
  const errors = await resultsOf(client, done.error_file_id)
  t.strictSame(errors.map(({ custom_id: id, response }) => [id, response?.status_code, response?.body.error.param]).sort(), [['b', 400, 'temperature'], ['c', 400, 'messages']])
})

t.test('completions are as good an endpoint', async t => {
  const { client } = await aBatchServer(t)
  const line = { custom_id: 'x', method: 'POST', url: '/v1/completions', body: { model: 'fake', prompt: ['one', 'two'], max_tokens: 4 } }
  const done = await ended(client, await submit(client, [line], { endpoint: '/v1/completions' }))
  const [result] = await resultsOf(client, done.output_file_id)
  t.equal(result?.response?.body.choices.length, 2)
})

const BYTE_ORDER_MARK = '\uFEFF'

t.test('an input file may begin with a byte order mark, which is no part of its first line', async t => {
  const longest = JSON.stringify(chatLine('first', { user: 'u'.repeat(1024) }))
  const { client } = await aBatchServer(t, { config: { bodyLimitBytes: longest.length } })
  const done = await ended(client, await submit(client, BYTE_ORDER_MARK + jsonl([longest, '', chatLine('second')])))
  t.match(done, { status: 'completed', request_counts: { total: 2, completed: 2 } })
  t.strictSame((await resultsOf(client, done.output_file_id)).map(({ custom_id: id }) => id).sort(), ['first', 'second'])
  const empty = await ended(client, await submit(client, BYTE_ORDER_MARK))
  t.match(empty.errors?.data?.[0], { code: 'empty_file' })
  const strayed = await ended(client, await submit(client, jsonl([longest]) + BYTE_ORDER_MARK + jsonl([chatLine('second')])))
  t.match(strayed.errors?.data?.[0], { code: 'invalid_json_line', line: 2 }, 'elsewhere it is no JSON')
})

const good = chatLine('good')
for (const [what, lines, problem] of [
  ['is no JSON', [good, 'nonsense'], { code: 'invalid_json_line', line: 2 }],
  ['has no id', [good, { ...chatLine('x'), custom_id: undefined }], { code: 'missing_required_parameter', line: 2, param: 'custom_id' }],
  ['has the id of another', [good, '', good], { code: 'duplicate_custom_id', line: 3 }],
  ['is for another endpoint', [good, chatLine('x', {}, { url: '/v1/completions' })], { code: 'invalid_url', line: 2 }],
  ['is no POST', [good, chatLine('x', {}, { method: 'GET' })], { code: 'invalid_method', line: 2 }],
  ['wants to be streamed', [good, chatLine('x', { stream: true })], { code: 'invalid_value', line: 2, param: 'body.stream' }],
  ['is for another model', [good, chatLine('x', { model: 'other' })], { code: 'mismatched_model', line: 2 }],
  ['is too long', [good, chatLine('x', { user: 'x'.repeat(4096) })], { code: 'line_too_long', line: 2 }],
  ['is one too many', ['a', 'b', 'c', 'd', 'e', 'f'].map(id => chatLine(id)), { code: 'too_many_lines', line: 6 }],
  ['is missing, as all are', ['', '  '], { code: 'empty_file', line: null }]
] as const) {
  t.test(`a batch fails with the number of the line that ${what}, and nothing runs`, async t => {
    const { client, generation } = await aBatchServer(t, { config: { maxBatchLines: 5, bodyLimitBytes: 4096 } })
    const failed = await ended(client, await submit(client, lines))
    t.equal(failed.status, 'failed')
    t.match(failed.errors?.data?.[0], problem)
    t.equal(generation.streams.length, 0)
  })
}

t.test('what cannot start a batch is refused at once, by name', async t => {
  const { client } = await aBatchServer(t)
  const { id } = await client.files.create({ file: await toFile(Buffer.from(jsonl([good])), 'in.jsonl'), purpose: 'batch' })
  const create = async (more: object) => await client.batches.create({ input_file_id: id, endpoint: CHAT, completion_window: '24h', ...more })
  t.match(await refusalOf(create({ input_file_id: 'file-none' })), { status: 400, param: 'input_file_id' })
  t.match(await refusalOf(create({ endpoint: '/v1/images' })), { status: 400, param: 'endpoint' })
  t.match(await refusalOf(create({ completion_window: 'soon' })), { status: 400, param: 'completion_window' })
  t.match(await refusalOf(create({ metadata: { key: 'x'.repeat(513) } })), { status: 400 })
  t.match(await refusalOf(create({ unknown: 1 })), { status: 400, code: 'unknown_parameter' })
  t.match(await refusalOf(client.batches.retrieve('batch_none')), { status: 404 })
  const done = await ended(client, await create({}))
  t.match(await refusalOf(create({ input_file_id: done.output_file_id })), { status: 400, param: 'input_file_id' })
})

t.test('lines that begin alike run one behind the other as a group, and say so', async t => {
  const { client, generation } = await aBatchServer(t)
  const about = (document: string, question: string): Body => chatLine(`${document[0]}${question}`, { messages: userSays(`${document.repeat(20)}${question}`) })
  const done = await ended(client, await submit(client, [about('abcdefgh', '1'), about('zyxwvuts', '1'), about('abcdefgh', '2'), about('zyxwvuts', '2'), chatLine('alone', { messages: userSays('!') })]))
  t.equal(done.request_counts?.completed, 5)
  const groups = generation.streams.map(({ request }) => request.prefixGroup?.id)
  t.equal(groups.filter(group => group !== undefined).length, 4)
  t.equal(new Set(groups).size, 3)
  const isTogether = groups.every((group, i) => group === undefined || groups[i - 1] === group || groups[i + 1] === group)
  t.ok(isTogether, JSON.stringify(groups))
})

t.test('a batch that is cancelled keeps the answers it has', async t => {
  const { client, generation } = await aBatchServer(t, { script: byHand })
  const batch = await submit(client, Array.from({ length: 5 }, (_, i) => chatLine(`${i}`)))
  while (generation.streams.length < 5) await new Promise(resolve => setImmediate(resolve))
  answer(generation.streams[2], 'done')
  while ((await client.batches.retrieve(batch.id)).request_counts?.completed !== 1) await new Promise(resolve => setImmediate(resolve))
  t.match(await client.batches.cancel(batch.id), { status: 'cancelling' })
  const cancelled = await ended(client, batch)
  t.match(cancelled, { status: 'cancelled', request_counts: { total: 5, completed: 1, failed: 0 } })
  t.equal((await resultsOf(client, cancelled.output_file_id)).length, 1)
  t.ok(generation.streams.every(({ released }) => released), 'nothing of it is left in the engine')
  t.match(await client.batches.cancel(batch.id), { status: 'cancelled' }, 'a second time changes nothing')
})

t.test('a batch whose time is over keeps the answers it has, and says of the other lines that they expired', async t => {
  const first = await aBatchServer(t, { script: byHand })
  const batch = await submit(first.client, Array.from({ length: 5 }, (_, i) => chatLine(`${i}`)))
  t.equal((batch.expires_at ?? 0) - batch.created_at, 24 * 3_600)
  await first.generation.stream(4)
  for (const i of [1, 3]) answer(first.generation.streams[i], 'in time')
  while ((await first.client.batches.retrieve(batch.id)).request_counts?.completed !== 2) await new Promise(resolve => setImmediate(resolve))
  await first.app.close()
  const record = join(first.dataFolder, 'batches', batch.id, 'batch.json')
  await writeFile(record, JSON.stringify({ ...JSON.parse(await readFile(record, 'utf8')) as object, expires_at: batch.created_at - 1 }))

  const second = await aBatchServer(t, { dataFolder: first.dataFolder, script: byHand })
  const expired = await ended(second.client, batch)
  t.match(expired, { status: 'expired', expired_at: Number, request_counts: { total: 5, completed: 2, failed: 3 } })
  t.strictSame([expired.completed_at, expired.cancelled_at, expired.failed_at], [null, null, null])
  const results = await resultsOf(second.client, expired.output_file_id)
  t.strictSame(results.map(({ response }) => response?.body.choices[0]?.message.content), ['in time', 'in time'])
  const errors = await resultsOf(second.client, expired.error_file_id)
  t.strictSame([...results, ...errors].map(result => result.custom_id).sort(), ['0', '1', '2', '3', '4'])
  t.ok(errors.every(({ response, error }) => response === null && error?.code === 'batch_expired'))
  t.equal(second.generation.streams.filter(({ released }) => !released).length, 0, 'nothing of it is left in the engine')
})

t.test('batches come in pages, newest first', async t => {
  const { client } = await aBatchServer(t)
  const batches = [await submit(client, [good]), await submit(client, [good]), await submit(client, [good])]
  for (const batch of batches) await ended(client, batch)
  const ids: string[] = []
  for await (const { id } of client.batches.list({ limit: 2 })) ids.push(id)
  t.strictSame(ids, batches.map(({ id }) => id).toReversed())
})

t.test('a page of batches says where it begins and ends, and whether more follow', async t => {
  const { client, url } = await aBatchServer(t)
  const page = async (query: string): Promise<Record<string, unknown>> => {
    const response = await fetch(`${url}/v1/batches${query}`)
    const { data, ...rest } = await response.json() as { data?: ReadonlyArray<{ id: string }> }
    return { status: response.status, ids: data?.map(({ id }) => id), ...rest }
  }
  const nothing = { status: 200, object: 'list', ids: [], first_id: null, last_id: null, has_more: false }
  t.strictSame(await page(''), nothing)

  const batches: OpenAI.Batch[] = []
  for (let i = 0; i < 21; i++) batches.unshift(await submit(client, [good]))
  for (const batch of batches) await ended(client, batch)
  const ids = batches.map(({ id }) => id)
  const pageOf = (ids: readonly string[], hasMore = false) => ({ status: 200, object: 'list', ids, first_id: ids[0], last_id: ids.at(-1), has_more: hasMore })
  t.strictSame(await page(''), pageOf(ids.slice(0, 20), true), 'twenty unless asked otherwise')
  t.strictSame(await page('?limit=100'), pageOf(ids))
  t.strictSame(await page('?limit=21'), pageOf(ids), 'the last that there are')
  t.strictSame(await page(`?limit=2&after=${ids[17]}`), pageOf(ids.slice(18, 20), true))
  t.strictSame(await page(`?limit=2&after=${ids[18]}`), pageOf(ids.slice(19)))
  t.strictSame(await page(`?after=${ids[20]}`), nothing)
  t.strictSame(await page('?limit=1&after=batch_unknown'), pageOf(ids.slice(0, 1), true), 'behind one that is unknown the list starts over')
  for (const query of ['limit=0', 'limit=101', 'limit=-1', 'limit=1.5', 'limit=many', 'limit=']) t.match(await page(`?${query}`), { status: 400, error: { type: 'invalid_request_error', param: 'limit' } }, query)
})

t.test('after its process has ended in the middle, a batch goes on behind the lines that are answered', async t => {
  const first = await aBatchServer(t, { script: byHand })
  const batch = await submit(first.client, Array.from({ length: 6 }, (_, i) => chatLine(`${i}`)))
  while (first.generation.streams.length < 6) await new Promise(resolve => setImmediate(resolve))
  for (const i of [0, 1, 2]) answer(first.generation.streams[i], 'before')
  while ((await first.client.batches.retrieve(batch.id)).request_counts?.completed !== 3) await new Promise(resolve => setImmediate(resolve))
  await first.app.close()
  const log = join(first.dataFolder, 'batches', batch.id, 'output.jsonl')
  const whole = await readFile(log, 'utf8')
  // The last line was being written, and another process would have found half of it.
  await writeFile(log, whole.slice(0, whole.lastIndexOf('{"id"') + 30))

  const second = await aBatchServer(t, { dataFolder: first.dataFolder, script: says('after') })
  const done = await ended(second.client, batch)
  t.match(done, { status: 'completed', request_counts: { total: 6, completed: 6, failed: 0 } })
  const results = await resultsOf(second.client, done.output_file_id)
  t.strictSame(results.map(result => result.custom_id).sort(), ['0', '1', '2', '3', '4', '5'])
  t.equal(results.filter(({ response }) => response?.body.choices[0]?.message.content === 'before').length, 2)
  t.equal(second.generation.streams.length, 4, 'no line is computed twice')
  t.strictSame(await readdir(join(first.dataFolder, 'batches', batch.id)), ['batch.json'])
})

t.test('a batch that ended while its files were being published publishes them once', async t => {
  const first = await aBatchServer(t)
  const done = await ended(first.client, await submit(first.client, [good]))
  await first.app.close()
  const record = join(first.dataFolder, 'batches', done.id, 'batch.json')
  await writeFile(record, JSON.stringify({ ...JSON.parse(await readFile(record, 'utf8')) as object, status: 'finalizing', completed_at: null }))
  await appendFile(join(first.dataFolder, 'batches', done.id, 'output.jsonl'), JSON.stringify({ custom_id: 'good' }) + '\n')
  const second = await aBatchServer(t, { dataFolder: first.dataFolder })
  const again = await ended(second.client, done)
  t.match(again, { status: 'completed', output_file_id: done.output_file_id })
  t.match((await resultsOf(second.client, again.output_file_id))[0]?.response, { status_code: 200 })
})

t.test('when the input file is gone, the batch says so', async t => {
  const { client } = await aBatchServer(t, { script: byHand, config: { maxRunningBatches: 1 } })
  const first = await submit(client, [good])
  const second = await submit(client, [good])
  await client.files.delete(second.input_file_id)
  await client.batches.cancel(first.id)
  t.match((await ended(client, second)).errors?.data?.[0], { code: 'file_not_found' })
})

t.test('an input file that is deleted at whatever moment either was read in time, or is what the batch failed of', async t => {
  const { client, logLines } = await aBatchServer(t)
  for (let numTurns = 0; numTurns < 12; numTurns++) {
    const batch = await submit(client, [good])
    for (let turn = 0; turn < numTurns; turn++) await new Promise(resolve => setImmediate(resolve))
    await client.files.delete(batch.input_file_id)
    const done = await ended(client, batch)
    t.comment(`${numTurns}: ${done.status}`)
    if (done.status === 'failed') t.strictSame(done.errors?.data?.map(({ code }) => code), ['file_not_found'])
    else t.match(done, { status: 'completed', request_counts: { completed: 1 } })
  }
  t.notOk(logLines.some(line => line.includes('batch-failed')), 'no fault of the server\'s')
})

t.test('a batch that waits for another is cancelled at once, and never begins', async t => {
  const { client, generation } = await aBatchServer(t, { script: byHand, config: { maxRunningBatches: 1 } })
  const first = await submit(client, [good])
  const second = await submit(client, [good])
  await generation.stream(0)
  t.match(await client.batches.cancel(second.id), { status: 'cancelled' })
  const both = await Promise.all([client.batches.cancel(first.id), client.batches.cancel(second.id)])
  t.strictSame(both.map(({ status }) => status), ['cancelling', 'cancelled'])
  t.match(await ended(client, first), { status: 'cancelled' })
  t.equal(generation.streams.length, 1)
})

t.test('a batch is cancelled at whatever moment that is asked for', async t => {
  const { client, generation } = await aBatchServer(t, { script: byHand })
  for (let numTurns = 0; numTurns < 12; numTurns++) {
    const batch = await submit(client, [good])
    for (let turn = 0; turn < numTurns; turn++) await new Promise(resolve => setImmediate(resolve))
    await client.batches.cancel(batch.id)
    const done = await ended(client, batch)
    t.equal(done.status, 'cancelled')
    t.type(done.cancelling_at, 'number')
  }
  t.ok(generation.streams.every(({ released }) => released))
})

t.test('when the disk takes no more of a batch, the server and the batches behind it go on, and the next start ends it', async t => {
  const { client, generation, app, dataFolder, logLines } = await aBatchServer(t, { script: byHand, config: { maxRunningBatches: 1 } })
  const first = await submit(client, [good])
  const second = await submit(client, [good])
  const stream = await generation.stream(0)
  const obstacle = join(dataFolder, 'batches', first.id, 'batch.json.new')
  await mkdir(obstacle)
  answer(stream, 'first')
  t.match(await ended(client, first), { status: 'failed' })
  answer(await generation.stream(1), 'second')
  t.match(await ended(client, second), { status: 'completed' })
  t.ok(logLines.some(line => line.includes('batch-not-saved')))
  await app.close()
  await rm(obstacle, { recursive: true })
  const again = await aBatchServer(t, { dataFolder })
  const done = await ended(again.client, first)
  t.match(done, { status: 'completed', request_counts: { completed: 1 } })
  t.equal((await resultsOf(again.client, done.output_file_id))[0]?.response?.body.choices[0]?.message.content, 'first')
})

t.test('a batch that cannot go on publishes what is answered', async t => {
  const first = await aBatchServer(t, { script: byHand })
  const batch = await submit(first.client, [chatLine('a'), chatLine('b')])
  await first.generation.stream(1)
  answer(first.generation.streams[0], 'kept')
  while ((await first.client.batches.retrieve(batch.id)).request_counts?.completed !== 1) await new Promise(resolve => setImmediate(resolve))
  await first.client.files.delete(batch.input_file_id)
  await first.app.close()
  const second = await aBatchServer(t, { dataFolder: first.dataFolder })
  const failed = await ended(second.client, batch)
  t.match(failed, { status: 'failed', errors: { data: [{ code: 'file_not_found' }] } })
  t.equal((await resultsOf(second.client, failed.output_file_id))[0]?.response?.body.choices[0]?.message.content, 'kept')
  t.strictSame(await readdir(join(first.dataFolder, 'batches', batch.id)), ['batch.json'])
})

t.test('without a data folder there is no such address', async t => {
  const { url } = await aServer(t)
  for (const path of ['/v1/files', '/v1/batches']) t.equal((await fetch(url + path)).status, 404)
})
