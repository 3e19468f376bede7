import t from 'tap'
import type { ForwardBatch } from '@daybreak/engine/contract'
import type { GenerationRequest, SchedulerConfig } from '@daybreak/scheduler'
import { Harness } from './harness.ts'

/** Blocks that a step brings back for each of its sequences, in the order in which they are served. */
function broughtBack ({ sequences, swapIns = [] }: ForwardBatch): number[] {
  return sequences.map(({ blockTable }) => swapIns.filter(({ block }) => blockTable.includes(block)).length).filter(count => count > 0)
}

interface Outcome { readonly harness: Harness, readonly requests: readonly GenerationRequest[], readonly returns: readonly number[][] }

/** Background work that gives way to a request with a prompt as large as the cache, and comes back when that has ended: all of it at once, if it may. */
function returning (config: Partial<SchedulerConfig>, arrange: (harness: Harness) => void = () => {}): Outcome {
  const harness = new Harness({
    limits: { numKVBlocks: 32 }, prefixCaching: false, numHostSlots: 64, config: { preemption: 'swap', backgroundQuietSeconds: 0, ...config }
  })
  arrange(harness)
  const requests = [17, 9, 5].map(numPromptTokens => harness.add({ numPromptTokens, maxTokens: 12, background: true }))
  for (let i = 0; i < 3; i++) harness.step()
  requests.push(harness.add({ numPromptTokens: 124, maxTokens: 4 }))
  harness.drain(1)
  return { harness, requests, returns: harness.batches.map(broughtBack).filter(counts => counts.length > 0) }
}

const together = returning({ swapInStepBlocks: 1_000 }).returns[0] ?? []
const [first = NaN, second = NaN, third = NaN] = together

t.test('with no limit to speak of, all come back in the step that has room for them', async t => {
  t.equal(together.length, 3)
  t.ok(first > second && second > third && third > 1, `${first}, ${second} and ${third} blocks`)
})

t.test('a step brings back as many blocks as are set and no more, in order, and the next one goes on', async t => {
  const cases: ReadonlyArray<readonly [number, readonly number[][]]> = [
    [first + second + third, [[first, second, third]]],
    [first + second + third - 1, [[first, second], [third]]],
    [first + second, [[first, second], [third]]],
    [first + second - 1, [[first], [second, third]]]
  ]
  for (const [swapInStepBlocks, expected] of cases) {
    const { harness, requests, returns } = returning({ swapInStepBlocks })
    t.strictSame(returns, expected, `${swapInStepBlocks} blocks a step`)
    for (const request of requests) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
  }
})

t.test('a sequence with more blocks than a step may bring back comes back all the same, in a step of its own', async t => {
  const { harness, requests, returns } = returning({ swapInStepBlocks: 1 })
  t.strictSame(returns, [[first], [second], [third]])
  for (const request of requests) t.same([harness.outputOf(request), harness.finishOf(request)], [harness.aloneOutputOf(request), 'length'])
  const { swappedInBlocks, swappedOutBlocks } = harness.scheduler.stats()
  t.equal(swappedInBlocks, swappedOutBlocks)
})

t.test('those who have to wait keep nobody waiting who runs: the others decode in every step', async t => {
  const { harness } = returning({ swapInStepBlocks: 1 })
  const steps = harness.batches.filter(({ swapIns = [] }) => swapIns.length > 0)
  t.strictSame(steps.map(({ sequences }) => sequences.length), [1, 2, 3])
})

t.test('left to the estimates, a step brings back what is copied in the time of a step full of prompt', async t => {
  // 64 tokens a step, of a second each.
  const atRate = (swapBlockSeconds: number): Outcome => returning({ swapBlockSeconds }, harness => {
    harness.runner.tokenSeconds = 1
    harness.runner.blockSeconds = swapBlockSeconds
  })
  t.strictSame(atRate(64 / (first + second + third)).returns, [[first, second, third]])
  t.strictSame(atRate(64 / (first + second)).returns, [[first, second], [third]])
  t.strictSame(atRate(64).returns, [[first], [second], [third]])
})

t.test('as long as a rate is unknown, one sequence a step comes back', async t => {
  t.strictSame(returning({}).returns, [[first], [second], [third]])
})
