/** Monotonic time; only differences mean anything. */
export interface Clock {
  /** Seconds. */
  now (): number
}

export const systemClock: Clock = { now: () => performance.now() / 1000 }
