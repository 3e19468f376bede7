export interface ReaderPressureOptions {
  /** Unread bytes above which the reader counts as slow. */
  readonly limitBytes: number
  /** How long it may stay slow. */
  readonly patienceMs: number
  readonly pause: () => void
  readonly resume: () => void
  /** The reader stayed slow for too long. */
  readonly giveUp: () => void
}

/** Pauses what feeds a reader that cannot keep up, resumes it when the reader has caught up, and gives up on one that never does. */
export class ReaderPressure {
  readonly #options: ReaderPressureOptions
  #timer: NodeJS.Timeout | undefined

  constructor (options: ReaderPressureOptions) {
    this.#options = options
  }

  get paused (): boolean { return this.#timer !== undefined }

  /** After a write: how much is unread. */
  written (bufferedBytes: number): void {
    if (this.paused || bufferedBytes <= this.#options.limitBytes) return
    this.#timer = setTimeout(this.#options.giveUp, this.#options.patienceMs).unref()
    this.#options.pause()
  }

  /** The reader has caught up. */
  drained (): void {
    if (!this.paused) return
    this.close()
    this.#options.resume()
  }

  close (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
