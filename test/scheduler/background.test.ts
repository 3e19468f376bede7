import t from 'tap'
import type { GenerationRequest } from '@daybreak/scheduler'
import { Harness } from './harness.ts'

const ids = (harness: Harness): string[][] => harness.batches.map(({ sequences }) => sequences.map(({ id }) => id))
const sequenceOf = ({ id }: GenerationRequest): string => `${id}/0`

t.test('background work runs when there is no other, behind it whatever the priorities, and in no step of its', async t => {
  const harness = new Harness()
  const background = harness.add({ background: true, priority: -5 })
  const others = [harness.add({ priority: 5 }), harness.add({ priority: 6 })]
  harness.drain()
  const steps = ids(harness)
  const lastOther = steps.findLastIndex(step => others.some(request => step.includes(sequenceOf(request))))
  t.ok(steps.slice(0, lastOther + 1).every(step => !step.includes(sequenceOf(background))))
  t.ok(steps.length > lastOther + 1)
  for (const request of [background, ...others]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('a request that comes gets the next step, and background work goes on behind it', async t => {
  const harness = new Harness()
  const background = harness.add({ background: true, maxTokens: 12 })
  for (let i = 0; i < 4; i++) harness.step()
  const other = harness.add({ maxTokens: 3 })
  t.same(harness.submit()?.sequences.map(({ id }) => id), [sequenceOf(other)])
  harness.drain()
  t.same(harness.outputOf(background), harness.aloneOutputOf(background))
  t.equal(harness.scheduler.stats().numPreemptions, 0, 'there was room for both')
})

t.test('background work gives up rows and blocks, any number of times, and is not charged for it', async t => {
  for (const limits of [{ maxSequences: 1 }, { numKVBlocks: 8 }]) {
    const harness = new Harness({ limits, config: { maxPreemptions: 0 } })
    const background = harness.add({ background: true, numPromptTokens: 20, maxTokens: 8 })
    for (let i = 0; i < 5; i++) {
      harness.step()
      const other = harness.add({ numPromptTokens: 20, maxTokens: 2 })
      while (harness.finishOf(other) === undefined) harness.step()
      t.equal(harness.finishOf(background), undefined)
    }
    harness.drain()
    t.ok(harness.scheduler.stats().numPreemptions >= 4)
    t.same(harness.outputOf(background), harness.aloneOutputOf(background))
  }
})

t.test('while the only other reader has paused, background work runs', async t => {
  const harness = new Harness()
  const other = harness.add()
  harness.step()
  harness.scheduler.pause(other.id)
  const background = harness.add({ background: true })
  harness.drain()
  t.equal(harness.finishOf(background), 'length')
  t.equal(harness.finishOf(other), undefined)
})

t.test('background work does not count against the queue of the others, nor they against it', async t => {
  const harness = new Harness({ config: { maxWaitingRequests: 2 } })
  for (let i = 0; i < 5; i++) harness.add({ background: true })
  harness.add()
  harness.add()
  t.throws(() => harness.add(), { code: 'queue_full' })
  t.match(harness.scheduler.stats(), { numWaiting: 2, waitingTokens: 10, numBackground: 5 })
  harness.add({ background: true })
  harness.drain()
  t.equal(harness.events.filter(({ type }) => type === 'finish').length, 8)
})
