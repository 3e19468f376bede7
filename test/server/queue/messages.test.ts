import t from 'tap'
import { encodeAnswer, MOST_ANSWER_BYTES, MOST_LINES, parseAnswer, parseChunk } from '../../../apps/server/src/queue/messages.ts'
import { batchKeys, jobId, queueName } from '../../../apps/server/src/queue/queue-names.ts'
import { parseQueueUrl, withoutCredentials } from '../../../apps/server/src/queue/queue-url.ts'

const usage = { promptTokens: 3, completionTokens: 2, cachedTokens: 0 }
const answer = { requestId: 'req_1', status: 200, body: { text: 'a\nb "c"' }, usage }
const chunk = { batch: 'batch_1', endpoint: '/v1/completions', lines: [{ number: 1, body: { prompt: 'a' } }] }

t.test('an answer arrives as it was sent', async t => {
  t.strictSame(parseAnswer(encodeAnswer(7, answer)), { number: 7, answer })
  const refused = { requestId: 'req_2', status: 400, body: { error: {} }, usage: undefined }
  t.strictSame(parseAnswer(encodeAnswer(1, refused)), { number: 1, answer: refused })
})

t.test('what is no answer is none', async t => {
  const good = { number: 7, ...answer }
  for (const wrong of ['', 'null', '[]', '{', { ...good, number: 0 }, { ...good, number: 1.5 }, { ...good, status: 'ok' }, { ...good, requestId: '' }, { ...good, usage: { promptTokens: -1 } }]) {
    t.equal(parseAnswer(typeof wrong === 'string' ? wrong : JSON.stringify(wrong)), undefined, JSON.stringify(wrong))
  }
})

t.test('an answer too large to send becomes one that says so', async t => {
  const text = encodeAnswer(7, { ...answer, body: 'x'.repeat(MOST_ANSWER_BYTES) })
  t.ok(text.length < 1000)
  t.match(parseAnswer(text), { number: 7, answer: { requestId: 'req_1', status: 500, body: { error: { code: 'internal_error' } } } })
})

t.test('a chunk is taken as it was put, and what is none is not', async t => {
  const grouped = { ...chunk, lines: [{ number: 5, body: { a: { b: [1] } }, prefixGroup: { id: 'batch_1/5', length: 32 } }] }
  t.strictSame(parseChunk(chunk), chunk)
  t.strictSame(parseChunk(grouped), grouped)
  const [line] = chunk.lines
  const wrongs = [undefined, {}, { ...chunk, lines: [] }, { ...chunk, batch: '../x' }, { ...chunk, batch: '' }, { ...chunk, lines: [{ ...line, body: 'text' }] },
    { ...chunk, lines: [{ ...line, number: -1 }] }, { ...chunk, lines: Array.from({ length: MOST_LINES + 1 }, () => line) }, { ...chunk, lines: [{ ...line, prefixGroup: { id: '', length: 1 } }] }]
  for (const wrong of wrongs) t.equal(parseChunk(wrong), undefined)
  t.ok(parseChunk({ ...chunk, lines: Array.from({ length: MOST_LINES }, () => line) }))
})

t.test('names of models and batches become names in Redis that mean nothing else there', async t => {
  t.equal(queueName('owner/name:Q4_K_M'), 'v1-owner%2Fname%3AQ4_K_M')
  t.not(queueName('a/b'), queueName('a%2Fb'))
  t.equal(jobId('batch_1', 3), 'batch_1-3')
  t.strictSame(batchKeys('batch_1').answers, 'daybreak:{batch_1}:answers')
})

t.test('an address is shown without what may be a password', async t => {
  t.strictSame(parseQueueUrl('redis://user:secret@host:6380/2'), { href: 'redis://user:secret@host:6380/2', name: 'redis://host:6380/2' })
  t.equal(parseQueueUrl('rediss://host')?.name, 'rediss://host')
  for (const wrong of ['', 'host:6379', 'http://host', 'redis://', 'redis://host/x', 'redis://host?family=6', 'redis://host#1']) t.equal(parseQueueUrl(wrong), undefined, wrong)
  for (const text of ['redi://user:secret@host', 'user:secret@host', 'redis://:secret@', 'redis://u:sec@ret@host', 'redis://u:sec/ret@host', '//:sec@host']) t.notMatch(withoutCredentials(text), /sec/, text)
})
