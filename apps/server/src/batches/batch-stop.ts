/** Why a batch stops before its last line. */
export type StopReason = 'cancelled' | 'expired' | 'shutdown'

/** The longest that a timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** Ends the work on one batch; the first reason counts. */
export class BatchStop {
  readonly controller = new AbortController()
  #reason: StopReason | undefined
  #cause: Error | undefined

  get signal (): AbortSignal {
    return this.controller.signal
  }

  /** Neither while it goes on nor when a fault has aborted it. */
  endedBy (reason: StopReason): boolean {
    return this.#reason === reason
  }

  end (reason: StopReason): void {
    if (this.signal.aborted) return
    this.#reason = reason
    this.#cause = new Error(`the batch is ${reason}`)
    this.controller.abort(this.#cause)
  }

  /** Whether an error is this end of the work, and no fault. */
  isReason (error: unknown): boolean {
    return this.#cause !== undefined && error === this.#cause
  }

  /**
   * Ends with `expired` at a time, until disposed of.
   * @param time Unix seconds, as `now` gives them; null: never. It may be further away than a timer can be set to.
   */
  endAt (time: number | null, now: () => number): Disposable {
    let timer: NodeJS.Timeout | undefined
    const wait = (): void => {
      if (time === null) return
      const ms = 1000 * (time - now())
      if (ms <= 0) this.end('expired')
      else timer = setTimeout(wait, Math.min(MAX_TIMER_MS, ms))
    }
    wait()
    return { [Symbol.dispose]: () => { clearTimeout(timer) } }
  }
}
