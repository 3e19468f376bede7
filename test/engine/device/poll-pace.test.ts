import t from 'tap'
import { PollPace } from '../../../packages/engine/src/device/poll-pace.ts'
import { StepEstimate } from '../../../packages/engine/src/device/step-estimate.ts'
import { PolledDevice, StandingTime } from './polled-device.ts'

const settled = (ms: number): StepEstimate => {
  const estimate = new StepEstimate()
  estimate.add(ms)
  estimate.add(ms)
  return estimate
}

/** Runs steps of these lengths, `inFlight` at once; preparing one takes the host `hostMs`. */
function runSteps (lengths: readonly number[], { inFlight = 2, hostMs = 0, estimate = new StepEstimate() } = {}): PolledDevice {
  const time = new StandingTime()
  const device = new PolledDevice(time, new PollPace(time))
  const left = [...lengths]
  const submit = (): void => {
    const length = left.shift()
    if (length === undefined) return
    time.pass(hostMs)
    device.submit(length, estimate)
  }
  device.onResult = submit
  for (let i = 0; i < inFlight; i++) submit()
  time.run()
  return device
}

t.test('what nobody announced is looked for on the next turn, and then without sleep', async t => {
  const time = new StandingTime()
  const pace = new PollPace(time)
  let numLooks = 0
  pace.ask(function look () { if (++numLooks < 10) pace.ask(look) })
  time.turnOnce()
  t.equal(numLooks, 1)
  time.run()
  t.equal(numLooks, 10)
  t.equal(time.sleptMs, 0)
})

t.test('steps of even length cost few looks, and the device never waits for the next one', async t => {
  for (const [length, hostMs] of [[0.9, 0.4], [0.9, 0.8], [0.3, 0.15], [45, 1]] as const) {
    const { numLooks, idleMs, time } = runSteps(Array.from({ length: 500 }, () => length), { hostMs })
    t.ok(numLooks / 500 < (length < 1 ? 5 : 40), `${numLooks} looks for 500 steps of ${length} ms`)
    t.equal(idleMs, 0, `steps of ${length} ms`)
    t.ok(time.sleptMs + time.timedMs > 0, 'the thread rests')
  }
})

t.test('a result is noticed soon, however much later than expected', async t => {
  for (const length of [10, 11, 20, 100]) {
    const device = runSteps([length], { estimate: settled(10) })
    t.ok(device.delaysMs.every(delay => delay <= 1.1), `${device.delaysMs.join()} ms after ${length}`)
    t.ok(device.numLooks <= 30 + length, `${device.numLooks} looks in ${length} ms`)
  }
})

t.test('one long step, such as a first one that compiles, delays none of the next', async t => {
  const { delaysMs } = runSteps([3000, 5, 5, 5, 3000, 5, 5, 5], { inFlight: 1 })
  t.ok(delaysMs.every(delay => delay <= 1.1), delaysMs.join())
})

t.test('a step much shorter than the last ones is found within its own time again, and in the end soon', async t => {
  for (const length of [3, 12, 70]) {
    const { delaysMs } = runSteps(Array.from({ length: 12 }, () => length), { inFlight: 1, estimate: settled(400) })
    t.ok(delaysMs.every(delay => delay <= length), `${delaysMs.join()} ms after ${length}`)
    t.ok((delaysMs.at(-1) ?? Infinity) <= 1.1, `${delaysMs.join()} ms after ${length}`)
  }
})

t.test('a short estimate that is too long shrinks with every step', async t => {
  const { delaysMs } = runSteps(Array.from({ length: 30 }, () => 0.2), { inFlight: 1, estimate: settled(2) })
  t.ok(delaysMs.every((delay, i) => i === 0 || delay <= (delaysMs[i - 1] ?? 0) + 0.1), delaysMs.join())
  t.ok(delaysMs.slice(-5).every(delay => delay < 0.1), delaysMs.join())
})

t.test('steps that are seen to end together, after the host was held up, do not shorten the estimate', async t => {
  const time = new StandingTime()
  const device = new PolledDevice(time, new PollPace(time))
  const estimate = settled(10)
  device.submit(10, estimate)
  device.submit(10, estimate)
  time.pass(1000)
  time.run()
  t.equal(device.numLooks, 1)
  t.ok(estimate.leastMs >= 8.75 && estimate.leastMs <= 10, `${estimate.leastMs} ms`)
})

t.test('of two queues, the one that is due first is looked for', async t => {
  for (const lengths of [[10, 1], [1, 10]]) {
    const time = new StandingTime()
    const pace = new PollPace(time)
    const devices = lengths.map(() => new PolledDevice(time, pace))
    for (const [i, device] of devices.entries()) device.submit(lengths[i] ?? 0, settled(lengths[i] ?? 0))
    time.run()
    const delays = devices.flatMap(({ delaysMs }) => delaysMs)
    t.ok(delays.every(delay => delay < 0.5), `${delays.join()} ms after ${lengths.join()}`)
  }
})

t.test('whoever a result wakes acts before the thread sleeps again', async t => {
  const time = new StandingTime()
  const device = new PolledDevice(time, new PollPace(time))
  let sleptBefore = NaN
  let sleptUntilWoken = NaN
  device.onResult = () => {
    if (!Number.isNaN(sleptBefore)) return
    sleptBefore = time.sleptMs
    time.turn(() => { sleptUntilWoken = time.sleptMs })
  }
  for (let i = 0; i < 2; i++) device.submit(1, settled(1))
  time.run()
  t.equal(sleptUntilWoken, sleptBefore)
})
