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

t.test('a step of background work is short until others have been away for a while', async t => {
  const harness = new Harness({ limits: { maxBatchedTokens: 8, maxSequences: 8 }, config: { backgroundStepTokens: 3, backgroundQuietSeconds: 10 } })
  const tokensOf = (): number | undefined => harness.step()?.sequences.reduce((sum, { tokens }) => sum + (tokens?.length ?? 1), 0)
  const background = harness.add({ background: true, numPromptTokens: 40, maxTokens: 2 })
  t.equal(tokensOf(), 8, 'nobody has been there yet')
  const other = harness.add({ numPromptTokens: 4, maxTokens: 1 })
  t.equal(tokensOf(), 4)
  t.equal(tokensOf(), 3)
  harness.clock.advance(9)
  t.equal(tokensOf(), 3)
  harness.clock.advance(2)
  t.equal(tokensOf(), 8)
  harness.drain()
  for (const request of [background, other]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('while others may come, one step of background work is under way at a time, and two when they have been away', async t => {
  const harness = new Harness({ config: { backgroundQuietSeconds: 10 } })
  const other = harness.add({ numPromptTokens: 4, maxTokens: 1 })
  harness.drain()
  const background = harness.add({ background: true, numPromptTokens: 150, maxTokens: 2 })
  t.equal(harness.submit()?.sequences[0]?.tokens?.length, 4, 'a sixteenth of 64')
  t.equal(harness.submit(), undefined)
  const urgent = harness.add({ numPromptTokens: 4, maxTokens: 1 })
  t.same(harness.submit()?.sequences.map(({ id }) => id), [sequenceOf(urgent)], 'who comes goes right behind it')
  while (harness.numInFlight > 0) harness.complete()
  harness.clock.advance(11)
  t.equal(harness.submit()?.sequences[0]?.tokens?.length, 64)
  t.equal(harness.submit()?.sequences[0]?.tokens?.length, 64)
  harness.drain()
  for (const request of [background, other, urgent]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('as much background work as is allowed rides along in the steps of others', async t => {
  const harness = new Harness({ config: { backgroundRideTokens: 2 } })
  const background = [1, 2, 3].map(() => harness.add({ background: true, numPromptTokens: 3, maxTokens: 6 }))
  const other = harness.add({ numPromptTokens: 3, maxTokens: 8 })
  harness.drain()
  const riding = ids(harness).filter(step => step.includes(sequenceOf(other)))
  const rides = harness.batches.filter((_, i) => (ids(harness)[i] ?? []).includes(sequenceOf(other)))
    .map(({ sequences }) => sequences.filter(({ id }) => id !== sequenceOf(other)).reduce((sum, { tokens }) => sum + (tokens?.length ?? 1), 0))
  t.equal(riding.length, 8)
  t.ok(rides.every(count => count <= 2) && rides.some(count => count === 2), rides.join())
  for (const request of [...background, other]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
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
