/** Time as the supervisor sees it, so that tests can move it by hand. */
export interface Clock {
  /** Monotonic milliseconds; only differences mean anything. */
  now (): number
  /** Calls back once after `ms` milliseconds, unless the returned function is called first. Keeps the process alive until then. */
  after (ms: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms)
    return () => clearTimeout(timer)
  }
}
