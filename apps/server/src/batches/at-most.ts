/** Lets only so many pieces of work run at a time; the others wait, first come, first served. */
export class AtMost {
  readonly #most: number
  readonly #waiting: Array<() => void> = []
  #numRunning = 0

  constructor (most: number) {
    this.#most = most
  }

  /** @throws what the work throws (rejects) */
  async run<Result> (work: () => Promise<Result>): Promise<Result> {
    if (this.#numRunning >= this.#most) await new Promise<void>(resolve => { this.#waiting.push(resolve) })
    else this.#numRunning++
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      // The place goes straight to whoever waits, past those that come just now.
      if (next === undefined) this.#numRunning--
      else next()
    }
  }
}
