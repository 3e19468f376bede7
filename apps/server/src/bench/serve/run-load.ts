import type { RequestOutcome } from './request-outcome.ts'
import type { SampleRequest } from './sample-request.ts'

/** Monotonic time in seconds; a test's clock can be made to lag. */
export interface LoadClock {
  now (): number
  sleepUntil (time: number): Promise<void>
}

export const systemClock: LoadClock = {
  now: () => performance.now() / 1000,
  async sleepUntil (time) {
    // Timers fire up to a millisecond late: the last one is waited for turn by turn, so that the schedule holds at high rates.
    const coarse = (time - performance.now() / 1000) * 1000 - 1.5
    if (coarse > 0) await new Promise(resolve => setTimeout(resolve, coarse))
    while (performance.now() / 1000 < time) await new Promise(resolve => setImmediate(resolve))
  }
}

export interface LoadPlan {
  readonly samples: readonly SampleRequest[]
  /** Seconds from the start, one per sample, ascending. */
  readonly arrivals: Float64Array
  /** At most this many at once; later ones wait in order, and that wait is kept apart from their latency. */
  readonly maxConcurrency: number | undefined
}

export interface LoadRun {
  /** In the order of the samples. */
  readonly outcomes: readonly RequestOutcome[]
  readonly duration: number
  /** How far the client fell behind its own schedule, as a share of the schedule's length (of the run's, where all leave at once). */
  readonly clientLag: number
}

/**
 * Sends every sample at its time, whatever the answers do (an open loop), and waits for all of them.
 * @param send measures one request; must not reject
 */
export async function runLoad (
  plan: LoadPlan,
  send: (sample: SampleRequest, queueSeconds: number) => Promise<RequestOutcome>,
  clock: LoadClock,
  onDone: (outcome: RequestOutcome) => void
): Promise<LoadRun> {
  const slots = new Slots(plan.maxConcurrency ?? Infinity)
  const start = clock.now()
  let worstLag = 0
  const running: Array<Promise<RequestOutcome>> = []
  for (const [index, sample] of plan.samples.entries()) {
    const due = start + (plan.arrivals[index] ?? 0)
    if (clock.now() < due) await clock.sleepUntil(due)
    const arrived = clock.now()
    worstLag = Math.max(worstLag, arrived - due)
    const answered = slots.take().then(() => send(sample, clock.now() - arrived)).finally(() => { slots.give() })
    running.push(answered.then(outcome => {
      onDone(outcome)
      return outcome
    }))
  }
  const outcomes = await Promise.all(running)
  const duration = clock.now() - start
  const planned = plan.arrivals.at(-1) ?? 0
  return { outcomes, duration, clientLag: worstLag / Math.max(planned > 0 ? planned : duration, Number.MIN_VALUE) }
}

/** A counting semaphore, first come, first served. */
class Slots {
  #free: number
  readonly #waiting: Array<() => void> = []

  constructor (count: number) {
    this.#free = count
  }

  take (): Promise<void> {
    if (this.#free > 0) {
      this.#free--
      return Promise.resolve()
    }
    return new Promise(resolve => { this.#waiting.push(resolve) })
  }

  give (): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}
