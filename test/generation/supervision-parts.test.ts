import t from 'tap'
import { Admission } from '../../apps/server/src/generation/admission.ts'
import { continueCounters, noStats } from '../../apps/server/src/generation/engine-stats.ts'
import { EventStream } from '../../apps/server/src/generation/generation-stream.ts'
import { ProgressWatch } from '../../apps/server/src/generation/progress-watch.ts'
import { RestartPolicy } from '../../apps/server/src/generation/restart-policy.ts'
import { ManualClock } from '../fakes/manual-clock.ts'

t.test('a stall is called exactly when work was queued and no step came for the whole time', async t => {
  const clock = new ManualClock()
  let numStalls = 0
  const watch = new ProgressWatch(clock, 60_000, () => { numStalls++ })
  clock.advance(1_000_000)
  watch.setBusy(true)
  clock.advance(59_999)
  watch.progress()
  clock.advance(59_999)
  t.equal(numStalls, 0)
  clock.advance(1)
  t.equal(numStalls, 1)
  watch.setBusy(false)
  watch.setBusy(true)
  clock.advance(30_000)
  watch.setBusy(false)
  clock.advance(1_000_000)
  t.equal(numStalls, 1, 'not while there is nothing to do')
  t.equal(clock.numTimers, 0)
})

t.test('a process that itself slept does not take the time for a stall', async t => {
  const clock = new ManualClock()
  let numStalls = 0
  const late: Array<() => void> = []
  const watch = new ProgressWatch({ now: () => clock.now(), after: (ms, callback) => clock.after(ms, () => late.push(callback)) }, 60_000, () => { numStalls++ })
  watch.setBusy(true)
  clock.advance(3_600_000)
  late.shift()?.()
  t.equal(numStalls, 0)
  clock.advance(60_000)
  late.shift()?.()
  t.equal(numStalls, 1, 'but a whole period more without a step is one')
})

t.test('restarts wait longer each time, start afresh after a quiet window, and end after too many', async t => {
  const policy = new RestartPolicy({ initialDelayMs: 100, maxDelayMs: 500, maxFailures: 6, windowMs: 10_000 })
  t.notOk(policy.isSeries(0))
  t.same([0, 1_000, 2_000, 3_000, 4_000].map(now => policy.recordFailure(now)), [100, 200, 400, 500, 500])
  t.ok(policy.isSeries(4_001))
  t.equal(policy.recordFailure(4_002), undefined)
  t.notOk(policy.isSeries(14_002))
  t.equal(policy.recordFailure(14_002), 100)
})

t.test('the estimate of the wait follows the throughput, within what clients honour', async t => {
  const admission = new Admission({ maxRequests: 2, maxTokens: 1_000_000 })
  admission.enter(0, 3_000)
  admission.enter(1, 3_000)
  const refusal = (): unknown => {
    try {
      admission.enter(2, 1)
      return undefined
    } catch (error) {
      return error
    }
  }
  t.match(refusal(), { details: { retryAfterSeconds: 1 } }, 'nothing is known yet')
  admission.stepFinished(200, 0)
  admission.stepFinished(200, 1_000)
  t.match(refusal(), { details: { retryAfterSeconds: 30 } }, '6,000 tokens at 200 a second')
  for (let second = 2; second < 500; second++) admission.stepFinished(1, second * 1_000)
  t.match(refusal(), { details: { retryAfterSeconds: 60 } })
  admission.leave(0)
  admission.leave(0)
  t.equal(admission.waitingTokens, 3_000, 'leaving twice counts once')
  t.equal(refusal(), undefined)
})

t.test('a single prompt longer than the queue is let in when nobody waits', async t => {
  const admission = new Admission({ maxRequests: 10, maxTokens: 100 })
  admission.enter(0, 5_000)
  t.throws(() => admission.enter(1, 1), { code: 'SERVER_QUEUE_FULL', details: { waitingTokens: 5_000, limit: 100 } })
})

t.test('what piles up behind a slow reader comes as one array, in order', async t => {
  const stream = new EventStream({ abort: () => {}, pause: () => {}, resume: () => {} })
  const finish = (choice: number) => ({ type: 'finish', id: 'r', choice, reason: 'length', stopToken: undefined, error: undefined }) as const
  const iterator = stream[Symbol.asyncIterator]()
  const first = iterator.next()
  stream.push([finish(0)])
  stream.push([finish(1), finish(2)])
  stream.push([])
  stream.push([finish(3)])
  stream.end()
  stream.push([finish(4)])
  t.same(await first, { done: false, value: [finish(0)] })
  t.same(await iterator.next(), { done: false, value: [finish(1), finish(2), finish(3)] })
  t.same(await iterator.next(), { done: true, value: undefined })
  t.same(await iterator.next(), { done: true, value: undefined })
})

t.test('a reader that leaves aborts, one that has read everything does not', async t => {
  const aborts: Array<number | undefined> = []
  const aStream = (): EventStream => new EventStream({ abort: choice => { aborts.push(choice) }, pause: () => {}, resume: () => {} })
  const left = aStream()[Symbol.asyncIterator]()
  await left.return?.()
  t.same(aborts, [undefined])
  t.same(await left.next(), { done: true, value: undefined })
  const stream = aStream()
  stream.end()
  await stream[Symbol.asyncIterator]().return?.()
  t.same(aborts, [undefined])
})

t.test('counters go on across processes, gauges start afresh', async t => {
  const earlier = { ...noStats, numRunning: 5, generatedTokens: 100, numSteps: 10 }
  t.match(continueCounters(earlier, { ...noStats, numRunning: 1, generatedTokens: 3, numSteps: 1 }), { numRunning: 1, generatedTokens: 103, numSteps: 11 })
})
