import type { Clock } from './clock.ts'

/** A timer this late was not late by itself: the process slept, or was stopped, and the engine with it. */
const LATE_MS = 5_000

/** Notices that work was queued and no step finished for a given time. */
export class ProgressWatch {
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #onStall: () => void
  #lastProgress = 0
  #cancel: (() => void) | undefined

  constructor (clock: Clock, timeoutMs: number, onStall: () => void) {
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#onStall = onStall
  }

  /** A step finished. */
  progress (): void {
    this.#lastProgress = this.#clock.now()
  }

  /** Whether there is work that ought to progress; the time counts from the moment there is. */
  setBusy (busy: boolean): void {
    if (busy === (this.#cancel !== undefined)) return
    if (busy) {
      this.progress()
      this.#arm(this.#timeoutMs)
    } else {
      this.#cancel?.()
      this.#cancel = undefined
    }
  }

  // Re-armed when it fires, rather than at every step: steps are many, stalls are rare.
  #arm (ms: number): void {
    const due = this.#clock.now() + ms
    this.#cancel = this.#clock.after(ms, () => {
      const now = this.#clock.now()
      if (now > due + LATE_MS) this.progress()
      const left = this.#lastProgress + this.#timeoutMs - this.#clock.now()
      if (left > 0) this.#arm(left)
      else {
        this.#cancel = undefined
        this.#onStall()
      }
    })
  }
}
