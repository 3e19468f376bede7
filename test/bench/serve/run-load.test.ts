import t from 'tap'
import { runLoad, systemClock } from '../../../apps/server/src/bench/serve/run-load.ts'
import type { LoadClock } from '../../../apps/server/src/bench/serve/run-load.ts'
import type { SampleRequest } from '../../../apps/server/src/bench/serve/sample-request.ts'
import { anOutcome } from './an-outcome.ts'

interface Timer { readonly at: number, readonly wake: () => void }

/** Time passes only while somebody sleeps; each sleep may overshoot. */
class SteppedClock implements LoadClock {
  #time = 100
  readonly #overshoot: number
  readonly #timers: Timer[] = []

  constructor (overshoot = 0) { this.#overshoot = overshoot }

  now (): number { return this.#time }

  /** Wakes timers in order on the way, each with a turn of the event loop to act in. */
  async sleepUntil (time: number): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    const end = time + this.#overshoot
    for (let next = this.#nextTimer(end); next !== undefined; next = this.#nextTimer(end)) {
      this.#timers.splice(this.#timers.indexOf(next), 1)
      this.#time = next.at
      next.wake()
      await new Promise(resolve => setImmediate(resolve))
    }
    this.#time = end
  }

  /** Resolves once somebody's sleep has passed `seconds` from now; never moves the clock. */
  after (seconds: number): Promise<void> {
    return new Promise(resolve => { this.#timers.push({ at: this.#time + seconds, wake: resolve }) })
  }

  #nextTimer (end: number): Timer | undefined {
    return this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
  }
}

const samples = (count: number): SampleRequest[] => Array.from({ length: count }, (_, i) => ({ prompt: String(i), promptTokens: 1, outputTokens: 1 }))

t.test('requests leave on schedule whatever the answers do', async t => {
  const clock = new SteppedClock()
  const sent: Array<[unknown, number]> = []
  const run = await runLoad({ samples: samples(4), arrivals: Float64Array.of(0, 1, 1.5, 4), maxConcurrency: undefined }, async sample => {
    sent.push([sample.prompt, clock.now() - 100])
    return anOutcome({ text: String(sample.prompt) })
  }, clock, () => {})
  t.strictSame(sent, [['0', 0], ['1', 1], ['2', 1.5], ['3', 4]])
  t.strictSame(run.outcomes.map(({ text }) => text), ['0', '1', '2', '3'])
  t.equal(run.duration, 4)
  t.equal(run.clientLag, 0)
})

t.test('at most maxConcurrency run at once, in order, and the wait for a slot is kept apart', async t => {
  const clock = new SteppedClock()
  let running = 0
  let mostRunning = 0
  const queued: number[] = []
  // The last arrival keeps the clock moving past every answer.
  const arrivals = Float64Array.of(0, 0, 0, 0, 50)
  await runLoad({ samples: samples(5), arrivals, maxConcurrency: 2 }, async (sample, queueSeconds) => {
    running++
    mostRunning = Math.max(mostRunning, running)
    queued.push(queueSeconds)
    if (sample.prompt !== '4') await clock.after(10)
    running--
    return anOutcome()
  }, clock, () => {})
  t.equal(mostRunning, 2)
  t.strictSame(queued, [0, 0, 10, 10, 0])
})

t.test('a client that wakes late is found out', async t => {
  const send = async (): Promise<ReturnType<typeof anOutcome>> => anOutcome()
  const late = await runLoad({ samples: samples(3), arrivals: Float64Array.of(1, 5, 10), maxConcurrency: undefined }, send, new SteppedClock(0.8), () => {})
  t.ok(Math.abs(late.clientLag - 0.08) < 1e-9, String(late.clientLag))
  const punctual = await runLoad({ samples: samples(3), arrivals: Float64Array.of(1, 5, 10), maxConcurrency: undefined }, send, new SteppedClock(0.01), () => {})
  t.ok(punctual.clientLag < 0.05)
})

t.test('every outcome is announced once, as it comes', async t => {
  const clock = new SteppedClock()
  const done: string[] = []
  await runLoad({ samples: samples(3), arrivals: Float64Array.of(0, 0, 9), maxConcurrency: undefined }, async sample => {
    if (sample.prompt === '0') await clock.after(5)
    return anOutcome({ text: String(sample.prompt) })
  }, clock, ({ text }) => done.push(text))
  t.strictSame(done, ['1', '0', '2'])
})

t.test('the real clock never wakes early', async t => {
  for (const seconds of [0, 0.001, 0.004]) {
    const due = systemClock.now() + seconds
    await systemClock.sleepUntil(due)
    t.ok(systemClock.now() >= due)
  }
})
