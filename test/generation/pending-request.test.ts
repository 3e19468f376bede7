import t from 'tap'
import type { GenerationEvent } from '@daybreak/scheduler'
import { EventStream } from '../../apps/server/src/generation/generation-stream.ts'
import { PendingRequest } from '../../apps/server/src/generation/pending-request.ts'
import { ReplayOrder } from '../../apps/server/src/generation/replay-order.ts'
import { aRequest } from '../fakes/supervised-engine.ts'
import type { RequestShape } from '../fakes/supervised-engine.ts'

const idleControls = { abort: () => {}, pause: () => {}, resume: () => {} }

const aPending = (shape: RequestShape = {}, extra: { readonly promptLogprobs?: number, readonly stopTokens?: readonly number[] } = {}, handle = 0): PendingRequest =>
  new PendingRequest(handle, { ...aRequest(shape), ...extra }, new EventStream(idleControls))

const token = (choice: number, token: number): GenerationEvent => ({ type: 'token', id: 'r', choice, token, logprob: -1, topLogprobs: undefined })
const finish = (choice: number): GenerationEvent => ({ type: 'finish', id: 'r', choice, reason: 'length', stopToken: undefined, error: undefined })
const scores: GenerationEvent = { type: 'prompt-scores', id: 'r', scores: [] }
const scheduled: GenerationEvent = { type: 'scheduled', id: 'r', cachedTokens: 0 }

t.test('a replay leaves finished choices out and goes on behind what the others have', async t => {
  const pending = aPending({ seeds: [10, 20, 30] })
  pending.takeForSending('0:r')
  pending.accept([scheduled, token(0, 1), token(1, 2), token(2, 3), token(2, 4), finish(1)])
  const replay = pending.takeForSending('0:r')
  t.same(replay?.choices.map(({ sampling: { seed }, outputTokens }) => [seed, outputTokens]), [[10, [1]], [30, [3, 4]]])
  t.same(pending.accept([token(1, 5)]), [token(2, 5)], 'the second choice sent is the third of the request')
  t.equal(pending.sentIndexOf(2), 1)
  t.equal(pending.sentIndexOf(1), undefined)
})

t.test('neither being scheduled nor prompt scores are delivered twice, and scores are not asked for again', async t => {
  const pending = aPending({}, { promptLogprobs: 2 })
  t.equal(pending.takeForSending('0:r')?.promptLogprobs, 2)
  t.same(pending.accept([scheduled, scores]), [scheduled, scores])
  t.equal(pending.takeForSending('0:r')?.promptLogprobs, undefined)
  t.same(pending.accept([scheduled, scores, token(0, 1)]), [token(0, 1)])
})

t.test('what a dead engine would have ended is ended in its place', async t => {
  const full = aPending({ maxTokens: 2, seeds: [1, 2] })
  full.takeForSending('0:r')
  full.accept([token(0, 1), token(0, 2), token(1, 1)])
  t.match(full.settle(), [{ type: 'finish', choice: 0, reason: 'length' }])
  t.notOk(full.finished)

  const stopped = aPending({}, { stopTokens: [9] })
  stopped.takeForSending('0:r')
  stopped.accept([token(0, 9)])
  t.match(stopped.settle(), [{ type: 'finish', choice: 0, reason: 'stop', stopToken: 9 }])

  const scored = aPending({ maxTokens: 0 }, { promptLogprobs: 0 })
  scored.takeForSending('0:r')
  t.same(scored.settle(), [], 'not before its scores have come')
  scored.accept([scores])
  t.match(scored.settle(), [{ type: 'finish', reason: 'length' }])
  t.equal(scored.takeForSending('0:r'), undefined, 'and then there is nothing to replay')
})

t.test('a choice ends once', async t => {
  const pending = aPending({ seeds: [1, 2] })
  pending.takeForSending('0:r')
  t.match(pending.finish('abort', 0), [{ choice: 0, reason: 'abort' }])
  t.same(pending.finish('abort', 0), [])
  t.same(pending.accept([token(0, 1), finish(0)]), [], 'what still comes for it is dropped')
  t.match(pending.finish('abort'), [{ choice: 1 }])
  t.ok(pending.finished)
})

t.test('after two deaths the suspects are tried one at a time, and only the guilty is given up', async t => {
  const order = new ReplayOrder(3)
  const requests = [0, 1, 2].map(handle => aPending({ id: `r${handle}` }, {}, handle))
  const sendNext = (): number[] => order.next(requests).map(request => {
    request.takeForSending('x')
    request.accept([scheduled])
    return request.handle
  })
  for (const series of [false, true]) {
    t.same(sendNext(), [0, 1, 2])
    t.same(order.blame(requests, series), [])
  }
  t.same(sendNext(), [0], 'the first alone')
  t.same(sendNext(), [], 'nobody else until it has proven itself')
  requests[0]?.accept([token(0, 1)])
  t.same(sendNext(), [1])
  t.same(order.blame(requests, true).map(({ handle }) => handle), [1])
})

t.test('a request that only waits is not accused of the deaths of others', async t => {
  const order = new ReplayOrder(3)
  const [computing, waiting] = [aPending(), aPending({ id: 'w' }, {}, 1)]
  for (let deaths = 1; deaths <= 3; deaths++) {
    for (const request of [computing, waiting]) request.takeForSending('x')
    computing.accept([scheduled])
    t.same(order.blame([computing, waiting], true), deaths === 3 ? [computing] : [])
    t.equal(waiting.suspicion, 0)
  }
})

t.test('a death long after the last one accuses nobody of the earlier ones', async t => {
  const order = new ReplayOrder(2)
  const request = aPending()
  for (let i = 0; i < 5; i++) {
    t.same(order.next([request]), [request])
    request.takeForSending('x')
    t.same(order.blame([request], false), [])
  }
})

t.test('a long stream survives deaths it was not the cause of more often', async t => {
  const order = new ReplayOrder(3)
  const request = aPending()
  let numDeaths = 0
  do {
    request.takeForSending('x')
    request.accept([token(0, numDeaths++)])
  } while (order.blame([request], true).length === 0)
  t.equal(numDeaths, 6)
})
