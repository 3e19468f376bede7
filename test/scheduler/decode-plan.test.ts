import t from 'tap'
import type { ForwardBatch } from '@daybreak/engine/contract'
import type { GenerationRequest } from '@daybreak/scheduler'
import { Harness } from './harness.ts'

const carries = (batch: ForwardBatch | undefined, { id }: GenerationRequest): boolean =>
  batch?.sequences.some(sequence => sequence.id === `${id}/0`) === true

t.test('every running decode is in every step while a long prompt is computed beside it', async t => {
  const harness = new Harness({ limits: { maxBatchedTokens: 16, maxModelLen: 256, numKVBlocks: 128 } })
  const decoding = [1, 2, 3].map(() => harness.add({ numPromptTokens: 3, maxTokens: 40 }))
  harness.submit()
  const long = harness.add({ numPromptTokens: 150, maxTokens: 2 })
  let numChunks = 0
  while (harness.finishOf(long) === undefined) {
    const batch = harness.submit()
    for (const request of decoding) t.ok(carries(batch, request))
    if (carries(batch, long)) numChunks++
    t.ok((batch?.sequences.reduce((sum, { tokens }) => sum + (tokens?.length ?? 1), 0) ?? 0) <= 16)
    harness.complete()
  }
  t.ok(numChunks >= Math.ceil(150 / 13), `${numChunks} chunks: the prompt gets what the decodes leave`)
  harness.drain()
  for (const request of [...decoding, long]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('a sequence whose newest token is in flight decodes without its value', async t => {
  const harness = new Harness()
  const request = harness.add({ numPromptTokens: 4, maxTokens: 3 })
  t.same(harness.submit()?.sequences.map(({ tokens }) => tokens), [request.promptTokens])
  const ahead = harness.submit()?.sequences[0]
  t.equal(ahead?.tokens, undefined)
  t.equal(ahead?.startPosition, 4)
  harness.complete()
  harness.complete()
  const known = harness.submit()?.sequences[0]
  t.same(known?.tokens, harness.outputOf(request).slice(1), 'a value known by now is sent')
  harness.drain()
  t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('no step overruns the length, however many are in flight', async t => {
  const harness = new Harness()
  const request = harness.add({ numPromptTokens: 4, maxTokens: 3 })
  for (let i = 0; i < 3; i++) t.ok(harness.submit())
  t.equal(harness.submit(), undefined, 'three tokens are on their way')
  harness.drain()
  t.equal(harness.outputOf(request).length, 3)
  t.equal(harness.finishOf(request), 'length')
  t.equal(harness.batches.length, 3)
})

t.test('a stop found late discards the overrun token, and its blocks serve the very next step', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 2 } })
  const probe = harness.add({ numPromptTokens: 4, maxTokens: 4 })
  harness.drain()
  const [first = -1] = harness.outputOf(probe)
  const request = harness.add({ promptTokens: probe.promptTokens, maxTokens: 4, stopTokens: [first] })
  const next = harness.add({ numPromptTokens: 5 })
  harness.submit()
  t.ok(carries(harness.submit(), request), 'the overrun step')
  const events = harness.complete()
  t.same(events.map(({ type }) => type), ['token', 'finish'])
  t.match(events.at(-1), { reason: 'stop', stopToken: first, error: undefined })
  t.equal(harness.kvCache.stats.numUsed, 0)
  t.ok(carries(harness.submit(), next), 'before the overrun step has returned')
  t.same(harness.complete(), [], 'the overrun token is nobody\'s')
  harness.drain()
  t.same(harness.outputOf(request), [first])
  t.same(harness.outputOf(next), harness.aloneOutputOf(next))
})

t.test('when blocks run out the last in order is preempted, never the first, and both lose nothing', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 9 }, prefixCaching: false })
  const oldest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  harness.step()
  const youngest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  let preemptedAt = -1
  while (harness.finishOf(oldest) === undefined) {
    const batch = harness.step()
    t.ok(carries(batch, oldest) || harness.finishOf(oldest) !== undefined, 'the oldest is in every step')
    if (harness.scheduler.stats().numPreemptions > 0 && preemptedAt < 0) preemptedAt = harness.outputOf(youngest).length
  }
  t.ok(preemptedAt > 0, `the youngest was preempted after ${preemptedAt} tokens`)
  harness.drain()
  for (const request of [oldest, youngest]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('of equal age, the higher priority number gives way', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 9 }, prefixCaching: false })
  const background = harness.add({ numPromptTokens: 8, maxTokens: 24, priority: 1 })
  harness.step()
  const urgent = harness.add({ numPromptTokens: 8, maxTokens: 24, priority: -1 })
  harness.drain()
  const order = harness.events.flatMap(event => event.type === 'finish' ? [event.id] : [])
  t.same(order, [urgent.id, background.id])
  t.ok(harness.scheduler.stats().numPreemptions > 0)
})

t.test('a token in flight at preemption is accepted when it comes', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 9 }, prefixCaching: false })
  const oldest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  harness.step()
  const youngest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  let late = 0
  for (let step = 0; step < 60; step++) {
    const before = harness.scheduler.stats().numPreemptions
    harness.submit()
    harness.submit()
    const preempted = harness.scheduler.stats().numPreemptions > before
    const known = harness.outputOf(youngest).length
    harness.complete()
    if (preempted) late += harness.outputOf(youngest).length - known
    harness.complete()
  }
  t.ok(late > 0)
  harness.drain()
  for (const request of [oldest, youngest]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('a sequence preempted more often than allowed fails, and the others do not', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 9 }, config: { maxPreemptions: 0 }, prefixCaching: false })
  const oldest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  harness.step()
  const youngest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  harness.drain()
  t.equal(harness.finishOf(oldest), 'length')
  t.equal(harness.finishOf(youngest), 'error')
  t.match(harness.events.find(event => event.type === 'finish' && event.id === youngest.id), { error: { code: 'kv_cache_exhausted' } })
  t.equal(harness.kvCache.stats.numUsed, 0)
})

t.test('each preemption counts once towards the limit', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 24 }, config: { maxPreemptions: 2 }, prefixCaching: false })
  const victim = harness.add({ numPromptTokens: 8, maxTokens: 88, priority: 1 })
  while (harness.finishOf(victim) === undefined) {
    harness.step()
    const rival = harness.add({ numPromptTokens: 8, maxTokens: 60 })
    while (harness.finishOf(rival) === undefined) harness.step()
  }
  t.equal(harness.finishOf(victim), 'error')
  t.equal(harness.scheduler.stats().numPreemptions, 2)
  t.match(harness.events.find(event => event.type === 'finish' && event.id === victim.id), { error: { message: /preempted 2 times/ } })
})

t.test('before a sequence gives way itself, one whose reader has paused does', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 9 }, prefixCaching: false })
  const paused = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  harness.step()
  const reading = harness.add({ numPromptTokens: 8, maxTokens: 28 })
  harness.step()
  harness.scheduler.pause(paused.id)
  harness.drain()
  t.equal(harness.finishOf(reading), 'length')
  t.equal(harness.finishOf(paused), undefined)
  t.equal(harness.scheduler.stats().numPreemptions, 1)
  harness.scheduler.resume(paused.id)
  harness.drain()
  for (const request of [paused, reading]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})
