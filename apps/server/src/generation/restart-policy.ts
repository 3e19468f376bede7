export interface RestartLimits {
  /** Wait before the first restart of a series; it doubles from one to the next. */
  readonly initialDelayMs: number
  readonly maxDelayMs: number
  /** Failures within `windowMs` of each other that end the attempts. */
  readonly maxFailures: number
  readonly windowMs: number
}

/** Ten deaths within five minutes are no accident; five quick ones still take less than eight seconds to come back from. */
export const defaultRestartLimits: RestartLimits = { initialDelayMs: 250, maxDelayMs: 15_000, maxFailures: 10, windowMs: 300_000 }

/** When to restart an engine process that died, and when to stop trying. */
export class RestartPolicy {
  readonly #limits: RestartLimits
  #failures: number[] = []

  constructor (limits: RestartLimits) {
    this.#limits = limits
  }

  /** Whether a death at `now` would follow another one closely. */
  isSeries (now: number): boolean {
    return this.#failures.some(time => now - time < this.#limits.windowMs)
  }

  /** Takes note of a death at `now` (milliseconds); returns the wait before the next start, or undefined to give up. */
  recordFailure (now: number): number | undefined {
    const { initialDelayMs, maxDelayMs, maxFailures, windowMs } = this.#limits
    this.#failures = [...this.#failures.filter(time => now - time < windowMs), now]
    if (this.#failures.length >= maxFailures) return undefined
    return Math.min(maxDelayMs, initialDelayMs * 2 ** (this.#failures.length - 1))
  }
}
