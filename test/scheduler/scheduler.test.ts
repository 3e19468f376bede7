import t from 'tap'
import { KVCache, kvCacheConfig } from '@daybreak/kvcache'
import { Scheduler, schedulerConfig, SCHEDULER_DEFAULTS } from '@daybreak/scheduler'
import type { GenerationRequest } from '@daybreak/scheduler'
import { FakeClock } from '../fakes/fake-clock.ts'
import { fakeLimits } from '../fakes/fake-model-runner.ts'
import { greedySampling } from '../fakes/fake-model.ts'
import { aRequest, Harness } from './harness.ts'

t.test('configuration has defaults and refuses limits under which nothing runs', async t => {
  t.same(schedulerConfig(), SCHEDULER_DEFAULTS)
  t.equal(schedulerConfig({ maxPreemptions: 0 }).maxPreemptions, 0)
  const refused = { code: 'scheduler_config' }
  t.throws(() => schedulerConfig({ maxPrefillChunk: 0 }), refused)
  t.throws(() => schedulerConfig({ maxWaitingRequests: 1.5 }), refused)
  t.throws(() => schedulerConfig({ maxPreemptions: -1 }), refused)
  t.throws(() => schedulerConfig({ watermark: 1 }), refused)
  t.throws(() => schedulerConfig({ swapBlockSeconds: 0 }), refused)
  t.throws(() => schedulerConfig({ swapInStepBlocks: 0 }), refused)
  for (const count of ['backgroundStepTokens', 'backgroundRideTokens', 'backgroundQuietSeconds']) t.throws(() => schedulerConfig({ [count]: -1 }), refused, count)
  // @ts-expect-error no such mode
  t.throws(() => schedulerConfig({ preemption: 'drop' }), refused)
  t.match(schedulerConfig({ preemption: 'swap', swapBlockSeconds: 0.5 }), { preemption: 'swap', swapBlockSeconds: 0.5 })
  const otherBlocks = new KVCache(kvCacheConfig({ numBlocks: 3, blockSize: 4 }))
  t.throws(() => new Scheduler(schedulerConfig(), otherBlocks, fakeLimits, new FakeClock()), refused)
})

t.test('requests that make no sense are refused with a code', async t => {
  const harness = new Harness()
  const invalid = { code: 'invalid_request' }
  t.throws(() => harness.add({ promptTokens: [] }), invalid)
  t.throws(() => harness.add({ numChoices: 0 }), invalid)
  t.throws(() => harness.add({ maxTokens: -1 }), invalid)
  t.throws(() => harness.add({ maxTokens: 1.5 }), invalid)
  t.throws(() => harness.add({ priority: NaN }), invalid)
  t.throws(() => harness.add({ promptLogprobs: -1 }), invalid)
  t.throws(() => harness.add({ promptTokens: [1, 1000] }), { ...invalid, details: { token: 1000, vocabSize: 1000 } })
  t.throws(() => harness.add({ outputTokens: [-1] }), invalid)
  const request = harness.add()
  t.throws(() => harness.add({ id: request.id }), { code: 'duplicate_request', details: { id: request.id } })
  harness.drain()
  harness.add({ id: request.id })
  t.equal(harness.scheduler.stats().numWaiting, 1, 'a finished request\'s id is free again')
})

t.test('a prompt must leave room for one token in the context, and only for as many as are asked for', async t => {
  const harness = new Harness({ limits: { maxModelLen: 20 } })
  t.throws(() => harness.add({ numPromptTokens: 20 }), { code: 'context_length_exceeded', details: { promptTokens: 20, maxModelLen: 20 } })
  const last = harness.add({ numPromptTokens: 19, maxTokens: 5 })
  const scored = harness.add({ numPromptTokens: 20, maxTokens: 0 })
  t.throws(() => harness.add({ numPromptTokens: 21, maxTokens: 0 }), { code: 'context_length_exceeded' })
  harness.drain()
  t.equal(harness.outputOf(last).length, 1, 'longer output is clipped')
  t.equal(harness.finishOf(last), 'length')
  t.equal(harness.finishOf(scored), 'length')
})

t.test('a prompt larger than the whole cache is refused, and output that outgrows it ends with length', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 3 } })
  t.throws(() => harness.add({ numPromptTokens: 13 }), { code: 'kv_capacity_exceeded', details: { promptTokens: 13, neededBlocks: 4, numBlocks: 3 } })
  const brimful = harness.add({ numPromptTokens: 12, maxTokens: 5 })
  const growing = harness.add({ numPromptTokens: 7, maxTokens: 50 })
  harness.drain()
  t.equal(harness.outputOf(brimful).length, 1, 'the last token needs no block')
  t.equal(harness.outputOf(growing).length, 6)
  t.equal(harness.finishOf(growing), 'length')
})

t.test('the queue is bounded in requests', async t => {
  const harness = new Harness({ config: { maxWaitingRequests: 2 } })
  harness.add({ numPromptTokens: 3 })
  harness.clock.advance(4)
  harness.add({ numPromptTokens: 3 })
  harness.clock.advance(1)
  t.throws(() => harness.add({ numPromptTokens: 3 }), {
    code: 'queue_full',
    details: { waitingRequests: 2, maxWaitingRequests: 2, waitingTokens: 6, oldestWaitSeconds: 5 }
  })
  harness.add({ outputTokens: [1] })
  t.pass('one accepted before an engine restart is let in')
  harness.submit()
  harness.add()
  t.pass('scheduled requests no longer count')
})

t.test('the queue is bounded in tokens, but for a request that is alone', async t => {
  const harness = new Harness({ config: { maxWaitingTokens: 10 } })
  harness.add({ numPromptTokens: 12 })
  t.throws(() => harness.add({ numPromptTokens: 1 }), { code: 'queue_full', details: { waitingTokens: 12, maxWaitingTokens: 10 } })
  harness.submit()
  harness.add({ numPromptTokens: 9 })
  harness.add({ numPromptTokens: 1 })
  t.throws(() => harness.add({ numPromptTokens: 1 }), { code: 'queue_full' })
})

type Setup = (harness: Harness) => GenerationRequest

const phases: Readonly<Record<string, Setup>> = {
  'while it waits': harness => harness.add(),
  'in the middle of its prompt': harness => {
    const request = harness.add({ numPromptTokens: 40 })
    harness.step()
    return request
  },
  'while its prompt is in flight': harness => {
    const request = harness.add()
    harness.submit()
    return request
  },
  'while it decodes': harness => {
    const request = harness.add()
    harness.step()
    harness.step()
    return request
  },
  'with two decodes in flight': harness => {
    const request = harness.add()
    harness.step()
    harness.submit()
    harness.submit()
    return request
  },
  'after it was preempted': harness => {
    harness.add({ numPromptTokens: 8, maxTokens: 60 })
    const request = harness.add({ numPromptTokens: 8, maxTokens: 60 })
    while (harness.scheduler.stats().numPreemptions === 0) harness.step()
    return request
  },
  'while it is paused': harness => {
    const request = harness.add()
    harness.step()
    harness.scheduler.pause(request.id)
    return request
  },
  'while choices wait to fork': harness => {
    const request = harness.add({ numChoices: 3 })
    harness.submit()
    return request
  },
  'after choices have forked': harness => {
    const request = harness.add({ numChoices: 3 })
    harness.submit()
    harness.submit()
    return request
  }
}

for (const [name, arrange] of Object.entries(phases)) {
  t.test(`a request aborted ${name} frees its blocks at once and ends with one abort per choice`, async t => {
    const harness = new Harness({ limits: { numKVBlocks: 20, maxBatchedTokens: 16 } })
    const request = arrange(harness)
    const others = harness.scheduler.stats().numRunning + harness.scheduler.stats().numWaiting - request.choices.length
    harness.abort(request)
    harness.abort(request)
    const { numRunning, numWaiting } = harness.scheduler.stats()
    t.equal(numRunning + numWaiting, others)
    t.equal(harness.kvCache.numSequences, numRunning)
    if (others === 0) t.equal(harness.kvCache.stats.numUsed, 0)
    const numTokens = harness.outputOf(request).length
    for (const choice of request.choices.keys()) t.equal(harness.finishOf(request, choice), 'abort')
    harness.drain()
    t.equal(harness.outputOf(request).length, numTokens, 'no token after the end')
  })
}

t.test('aborting one choice leaves the others, and unknown ids are left alone', async t => {
  const harness = new Harness()
  const request = harness.add({ numChoices: 3 })
  harness.submit()
  harness.submit()
  harness.abort(request, 1)
  harness.scheduler.abort('nobody')
  harness.scheduler.pause('nobody')
  harness.scheduler.resume('nobody')
  harness.drain()
  t.same([0, 1, 2].map(choice => harness.finishOf(request, choice)), ['length', 'abort', 'length'])
  for (const choice of [0, 2]) t.same(harness.outputOf(request, choice), harness.aloneOutputOf(request, choice))
})

t.test('a paused request is left out of steps, keeps its blocks and place, and goes on when resumed', async t => {
  const harness = new Harness()
  const request = harness.add({ maxTokens: 8 })
  harness.step()
  const { numUsed } = harness.kvCache.stats
  harness.scheduler.pause(request.id)
  t.equal(harness.submit(), undefined)
  t.equal(harness.kvCache.stats.numUsed, numUsed)
  const other = harness.add({ maxTokens: 3 })
  harness.drain()
  t.equal(harness.finishOf(other), 'length')
  t.equal(harness.outputOf(request).length, 1)
  harness.scheduler.resume(request.id)
  harness.drain()
  t.same(harness.outputOf(request), harness.aloneOutputOf(request))
  t.equal(harness.scheduler.stats().numPreemptions, 0)
})

t.test('a request paused in the queue lets others pass', async t => {
  const harness = new Harness()
  const paused = harness.add()
  harness.scheduler.pause(paused.id)
  const other = harness.add()
  harness.drain()
  t.equal(harness.finishOf(other), 'length')
  t.equal(harness.finishOf(paused), undefined)
})

t.test('paused requests give up rows and blocks to whoever could run, one a step while others run', async t => {
  const rows = new Harness({ limits: { maxSequences: 2 } })
  const paused = [rows.add(), rows.add()]
  rows.step()
  for (const { id } of paused) rows.scheduler.pause(id)
  const waiting = rows.add()
  rows.drain()
  t.equal(rows.finishOf(waiting), 'length')
  t.equal(rows.scheduler.stats().numPreemptions, 1, 'one row is enough')

  const blocks = new Harness({ limits: { numKVBlocks: 12 } })
  const readers = [1, 2].map(() => blocks.add({ numPromptTokens: 12 }))
  blocks.step()
  for (const { id } of readers) blocks.scheduler.pause(id)
  const large = blocks.add({ numPromptTokens: 40 })
  blocks.drain()
  t.equal(blocks.finishOf(large), 'length')
  t.equal(blocks.scheduler.stats().numPreemptions, 2, 'all of them, as nothing else would run')
  for (const { id } of readers) blocks.scheduler.resume(id)
  blocks.drain()
  for (const request of [...readers, large]) t.same(blocks.outputOf(request), blocks.aloneOutputOf(request))

  const mixed = new Harness({ limits: { numKVBlocks: 16 } })
  const running = mixed.add({ numPromptTokens: 4, maxTokens: 3 })
  const idle = [1, 2].map(() => mixed.add({ numPromptTokens: 12 }))
  mixed.step()
  for (const { id } of idle) mixed.scheduler.pause(id)
  mixed.add({ numPromptTokens: 60 })
  mixed.submit()
  t.equal(mixed.scheduler.stats().numPreemptions, 1)
  t.equal(mixed.finishOf(running), undefined)
})

t.test('statistics count what was asked, computed and generated', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 32 } })
  t.match(harness.scheduler.stats(), { numRunning: 0, numWaiting: 0, kvCacheUsage: 0, numSteps: 0 })
  harness.add({ numPromptTokens: 8, maxTokens: 2, numChoices: 2 })
  t.match(harness.scheduler.stats(), { numWaiting: 2, waitingTokens: 9 })
  harness.submit()
  t.match(harness.scheduler.stats(), { numRunning: 1, numWaiting: 1, waitingTokens: 1, kvCacheUsage: 2 / 32, promptTokensComputed: 8 })
  harness.drain()
  t.match(harness.scheduler.stats(), { numRunning: 0, numWaiting: 0, generatedTokens: 4, promptTokensComputed: 9, prefixCacheQueries: 8 })
})

t.test('logprobs are passed on as they come', async t => {
  const harness = new Harness()
  harness.add({ maxTokens: 1, sampling: { ...greedySampling, numLogprobs: 2 } })
  harness.drain()
  t.match(harness.events.find(({ type }) => type === 'token'), { logprob: Number, topLogprobs: [{ logprob: -1 }, { logprob: -2 }] })
})

t.test('results that do not belong to their batch are invariant errors', async t => {
  const broken = { code: 'scheduler_invariant' }
  const answered = (result: object, shape = {}): () => void => () => {
    const harness = new Harness()
    harness.add({ ...shape, maxTokens: 2 })
    const batch = harness.submit()
    if (batch !== undefined) harness.scheduler.complete(batch, { sampled: [], scored: new Map(), deviceSeconds: 0, hostSeconds: 0, ...result })
  }
  t.throws(answered({}), broken, 'a token is missing')
  const first = { token: 1, logprob: 0, topLogprobs: undefined }
  t.throws(answered({ sampled: [{ ...first, id: 'other' }] }), broken, 'another sequence\'s token')
  t.throws(answered({ sampled: [{ ...first, id: 'x/0' }, { ...first, id: 'x/0' }] }, { id: 'x' }), broken, 'a token too many')
  t.throws(answered({ sampled: [{ ...first, id: 'y/0' }] }, { id: 'y', promptLogprobs: 1 }), broken, 'scores are missing')
  const harness = new Harness()
  harness.scheduler.add(aRequest())
  const batch = harness.submit()
  harness.submit()
  if (batch !== undefined) t.throws(() => harness.scheduler.complete({ ...batch, step: 1 }, { sampled: [], scored: new Map(), deviceSeconds: 0, hostSeconds: 0 }), broken, 'out of order')
})
