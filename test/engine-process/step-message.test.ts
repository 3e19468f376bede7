import { deserialize, serialize } from 'node:v8'
import t from 'tap'
import type { GenerationEvent } from '@daybreak/scheduler'
import { noStats } from '../../apps/server/src/generation/engine-stats.ts'
import { parseChildMessage, parseParentMessage } from '../../apps/server/src/engine-process/protocol.ts'
import { decodeStep, encodeStep, engineRequestId, handleOf } from '../../apps/server/src/engine-process/step-message.ts'
import { aRequest } from '../fakes/supervised-engine.ts'

const summary = { numTokens: 5, numSequences: 2, hostSeconds: 0.001, deviceSeconds: 0.002 }

/** What the other process gets. */
const overTheChannel = (value: unknown): unknown => deserialize(serialize(value))

t.test('a step survives the channel with every field of every event, and each request keeps its order', async t => {
  const events = (a: string, b: string): GenerationEvent[] => [
    { type: 'scheduled', id: a, cachedTokens: 16 },
    { type: 'prompt-scores', id: a, scores: [{ token: 3, logprob: -0.25, topLogprobs: [{ token: 1, logprob: -0.125 }] }] },
    { type: 'token', id: a, choice: 0, token: 128_255, logprob: -1.5e-9, topLogprobs: [{ token: 2, logprob: -0.1 }, { token: 7, logprob: -Infinity }] },
    { type: 'token', id: b, choice: 3, token: 0, logprob: -0, topLogprobs: undefined },
    { type: 'token', id: a, choice: 1, token: 9, logprob: -2, topLogprobs: [] },
    { type: 'finish', id: a, choice: 1, reason: 'stop', stopToken: 9, error: undefined },
    { type: 'finish', id: b, choice: 3, reason: 'error', stopToken: undefined, error: { code: 'x', message: 'y' } }
  ]
  const sent = encodeStep(events(engineRequestId(4, '1:odd'), engineRequestId(12, 'b')), { ...noStats, numSteps: 7 }, summary)
  const message = parseChildMessage(overTheChannel(sent))
  t.equal(message?.type, 'step')
  if (message?.type !== 'step') return
  t.same(message.summary, summary)
  t.same(message.stats, { ...noStats, numSteps: 7 })
  const ids = new Map([[4, '1:odd'], [12, 'b']])
  const decoded = decodeStep(message, handle => ids.get(handle))
  const original = events('1:odd', 'b')
  t.strictSame(decoded.get(4), original.filter(({ id }) => id === '1:odd'))
  t.strictSame(decoded.get(12), original.filter(({ id }) => id === 'b'))
})

t.test('events of a request that is gone are skipped', async t => {
  const sent = encodeStep([{ type: 'token', id: engineRequestId(1, 'a'), choice: 0, token: 1, logprob: 0, topLogprobs: undefined }], noStats, undefined)
  t.equal(decodeStep(sent, () => undefined).size, 0)
})

t.test('the handle is found in an id whatever the caller called its request', async t => {
  for (const id of ['', '7', '7:8', 'chatcmpl-1', '-1']) t.equal(handleOf(engineRequestId(1_234_567, id)), 1_234_567)
})

t.test('every message of the parent survives the channel', async t => {
  for (const message of [
    { type: 'generate', request: aRequest({ id: '0:r' }) },
    { type: 'abort', id: '0:r', choice: undefined },
    { type: 'abort', id: '0:r', choice: 2 },
    { type: 'pause', id: '0:r' },
    { type: 'resume', id: '0:r' },
    { type: 'shutdown' }
  ]) t.same(parseParentMessage(overTheChannel(message)), message)
})

t.test('what is not a message of the protocol is not taken for one', async t => {
  for (const value of [undefined, null, 7, 'step', {}, { type: 'nonsense' }, { type: 'abort' }, { type: 'abort', id: 'x', choice: -1 }, { type: 'generate', request: { id: 'x' } }]) {
    t.equal(parseParentMessage(value), undefined)
  }
  const step = encodeStep([], noStats, undefined)
  for (const value of [null, 'x', { type: 'ready' }, { ...step, tokens: [1, 2, 3, 4] }, { ...step, tokens: new Float64Array(3) }, { type: 'step' }]) {
    t.equal(parseChildMessage(value), undefined)
  }
})
