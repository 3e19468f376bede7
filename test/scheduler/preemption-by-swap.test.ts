import t from 'tap'
import type { ForwardBatch } from '@daybreak/engine/contract'
import type { GenerationRequest } from '@daybreak/scheduler'
import { Harness } from './harness.ts'
import type { HarnessOptions, RequestShape } from './harness.ts'

const swapping: HarnessOptions = { limits: { numKVBlocks: 9 }, prefixCaching: false, numHostSlots: 32, config: { preemption: 'swap' } }

/** Two that outgrow nine blocks of four together: the younger is preempted. */
function untilPreempted (options: HarnessOptions = swapping, shape: RequestShape = {}): { harness: Harness, oldest: GenerationRequest, victim: GenerationRequest } {
  const harness = new Harness(options)
  const oldest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  harness.step()
  const victim = harness.add({ numPromptTokens: 8, maxTokens: 24, ...shape })
  while (harness.scheduler.stats().numPreemptions === 0) harness.step()
  return { harness, oldest, victim }
}

const forwardOf = (batch: ForwardBatch | undefined, { id }: GenerationRequest) => batch?.sequences.find(sequence => sequence.id === `${id}/0`)

t.test('a preempted sequence waits in host memory and goes on where it was', async t => {
  const { harness, oldest, victim } = untilPreempted()
  const out = harness.batches.at(-1)
  const numOutput = harness.outputOf(victim).length
  t.equal(out?.swapOuts?.length, Math.ceil((8 + numOutput - 1) / 4))
  t.match(harness.scheduler.stats(), { numSwapped: 1, numWaiting: 1, swappedOutBlocks: out?.swapOuts?.length, swappedInBlocks: 0 })
  t.equal(harness.scheduler.stats().hostTierUsage, (out?.swapOuts?.length ?? NaN) / 32)
  let back: ForwardBatch | undefined
  while (back?.swapIns === undefined) back = harness.step()
  t.equal(harness.finishOf(oldest), 'length')
  t.same(back.swapIns.map(({ slot }) => slot), out?.swapOuts?.map(({ slot }) => slot))
  t.match(forwardOf(back, victim), { startPosition: 8 + numOutput - 1, tokens: harness.outputOf(victim).slice(numOutput - 1, numOutput) }, 'one token: nothing is computed twice')
  harness.drain()
  t.same(harness.outputOf(victim), harness.aloneOutputOf(victim))
  t.match(harness.scheduler.stats(), { numSwapped: 0, hostTierUsage: 0, promptTokensComputed: 16 })
})

t.test('its penalties are told again, because its row has become somebody else\'s', async t => {
  const { harness, victim } = untilPreempted(swapping, { sampling: { presencePenalty: 0.5 } })
  harness.drain()
  const told = harness.batches.flatMap(batch => forwardOf(batch, victim)?.history ?? [])
  t.equal(told.length, 2)
  t.same(told[1]?.outputTokens, harness.outputOf(victim).slice(0, told[1]?.outputTokens.length))
  t.same(harness.outputOf(victim), harness.aloneOutputOf(victim))
})

t.test('one that is preempted with its newest token in flight comes back when token and blocks have come', async t => {
  const harness = new Harness(swapping)
  const oldest = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  const victim = harness.add({ numPromptTokens: 8, maxTokens: 24 })
  while (harness.scheduler.stats().numPreemptions === 0) {
    harness.submit()
    if (harness.numInFlight === 3) harness.complete()
  }
  t.match(harness.scheduler.stats(), { numSwapped: 1 })
  const unknown = harness.numInFlight
  t.ok(unknown >= 2, `${unknown} steps in flight`)
  harness.abort(oldest)
  // There is room at once, but neither the token nor the bytes are known to be there.
  while (harness.numInFlight > 0) {
    t.equal(harness.submit(), undefined)
    harness.complete()
  }
  const back = harness.submit()
  t.ok((back?.swapIns?.length ?? 0) > 0)
  t.equal(forwardOf(back, victim)?.tokens?.length, 1)
  harness.drain()
  t.same(harness.outputOf(victim), harness.aloneOutputOf(victim))
})

t.test('aborted while it waits in host memory, or on its way there, it holds nothing any more', async t => {
  const waiting = untilPreempted()
  waiting.harness.abort(waiting.victim)
  t.match(waiting.harness.kvCache.stats, { numHostSlotsUsed: 0 })
  const onItsWay = new Harness(swapping)
  onItsWay.add({ numPromptTokens: 8, maxTokens: 24 })
  const victim = onItsWay.add({ numPromptTokens: 8, maxTokens: 24 })
  while (onItsWay.scheduler.stats().numPreemptions === 0) {
    onItsWay.complete()
    onItsWay.submit()
  }
  onItsWay.abort(victim)
  t.ok(onItsWay.kvCache.stats.numHostSlotsUsed > 0, 'the device is still writing')
  onItsWay.complete()
  t.match(onItsWay.kvCache.stats, { numHostSlotsUsed: 0 })
  t.match(onItsWay.scheduler.stats(), { numSwapped: 0, numWaiting: 0 })
  onItsWay.drain()
})

t.test('a stop token that arrives while it is on its way ends it there', async t => {
  const probe = untilPreempted()
  const numKnown = probe.harness.outputOf(probe.victim).length
  probe.harness.drain()
  const stop = probe.harness.outputOf(probe.victim)[numKnown]
  const harness = new Harness(swapping)
  harness.add({ promptTokens: probe.oldest.promptTokens, maxTokens: 24 })
  harness.step()
  const victim = harness.add({ promptTokens: probe.victim.promptTokens, maxTokens: 24, stopTokens: [stop ?? -1] })
  // As in the probe, but that the last steps are in flight when it is preempted.
  while (harness.scheduler.stats().numPreemptions === 0) {
    harness.submit()
    if (harness.numInFlight === 3) harness.complete()
  }
  harness.drain()
  t.same(harness.outputOf(victim), harness.aloneOutputOf(victim))
  t.match(harness.kvCache.stats, { numHostSlotsUsed: 0, numUsed: 0 })
})

t.test('a step may do nothing but swap: what gave way with nothing else to run is brought to safety all the same', async t => {
  const harness = new Harness({ ...swapping, limits: { numKVBlocks: 7 } })
  const ending = harness.add({ numPromptTokens: 8, maxTokens: 2 })
  const growing = harness.add({ numPromptTokens: 7, maxTokens: 14 })
  // The first has all its tokens in flight and nothing left to run, until at last the second finds no block to grow into.
  for (let i = 0; i < 11; i++) harness.submit()
  const alone = harness.batches.find(batch => batch.sequences.length === 0)
  t.match(alone, { sequences: [], moves: [], swapIns: undefined })
  t.ok((alone?.swapOuts?.length ?? 0) > 0)
  harness.drain()
  t.same(harness.outputOf(ending), harness.aloneOutputOf(ending))
  t.same(harness.outputOf(growing), harness.aloneOutputOf(growing))
  t.equal(harness.scheduler.stats().swappedInBlocks, harness.scheduler.stats().swappedOutBlocks)
})

t.test('where host memory is full, it is computed again', async t => {
  const { harness, victim } = untilPreempted({ ...swapping, numHostSlots: 2 })
  t.match(harness.scheduler.stats(), { numSwapped: 0, swappedOutBlocks: 0, numPreemptions: 1 })
  harness.drain()
  t.same(harness.outputOf(victim), harness.aloneOutputOf(victim))
})

t.test('choices of one request leave their common prompt to those that run, and find it again', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 10 }, numHostSlots: 32, config: { preemption: 'swap' } })
  const request = harness.add({ numPromptTokens: 13, maxTokens: 14, numChoices: 3 })
  harness.drain()
  for (const choice of [0, 1, 2]) t.same(harness.outputOf(request, choice), harness.aloneOutputOf(request, choice))
  const { numPreemptions, swappedOutBlocks } = harness.scheduler.stats()
  t.ok(numPreemptions > 0)
  t.ok(swappedOutBlocks > 0 && swappedOutBlocks < 4 * numPreemptions, `${swappedOutBlocks} blocks for ${numPreemptions} preemptions`)
})

t.test('a prompt that is being scored is computed again, with its scores once', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 8, maxBatchedTokens: 8, maxLogitRows: 8 }, prefixCaching: false, numHostSlots: 32, config: { preemption: 'swap' } })
  const first = harness.add({ numPromptTokens: 3, maxTokens: 24 })
  harness.step()
  const scored = harness.add({ numPromptTokens: 20, maxTokens: 4, promptLogprobs: 1 })
  while (harness.scheduler.stats().numPreemptions === 0 && harness.finishOf(first) === undefined) harness.step()
  harness.drain()
  t.equal(harness.scoresOf(scored)?.length, 19)
  t.same(harness.outputOf(scored), harness.aloneOutputOf(scored))
})

for (const [name, blockSeconds, isSwapped] of [['fast', 0.001, true], ['slow', 10, false]] as const) {
  t.test(`left to the estimates, ${name} copies ${isSwapped ? 'are' : 'are not'} chosen`, async t => {
    const harness = new Harness({ ...swapping, config: { swapBlockSeconds: blockSeconds } })
    harness.runner.tokenSeconds = 0.1
    harness.runner.blockSeconds = blockSeconds
    const requests = [1, 2, 3].map(() => harness.add({ numPromptTokens: 8, maxTokens: 20 }))
    harness.drain()
    const { numPreemptions, swappedOutBlocks } = harness.scheduler.stats()
    t.ok(numPreemptions > 0)
    t.equal(swappedOutBlocks > 0, isSwapped)
    for (const request of requests) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
  })
}

t.test('without a single measurement, nothing is swapped', async t => {
  const { harness } = untilPreempted({ ...swapping, config: {} })
  t.equal(harness.scheduler.stats().swappedOutBlocks, 0)
})
