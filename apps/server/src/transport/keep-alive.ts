/** A stream that must not stay silent for long. */
export interface KeptAlive {
  /** Monotonic milliseconds of the last write. */
  readonly lastWriteAt: number
  keepAlive (): void
}

/**
 * Keeps silent streams alive. One timer serves all of them, so a stream costs nothing per token but noting the time.
 */
export class KeepAlive {
  readonly #intervalMs: number
  readonly #now: () => number
  readonly #streams = new Set<KeptAlive>()
  #timer: NodeJS.Timeout | undefined

  /** @param now monotonic milliseconds. */
  constructor (intervalMs: number, now: () => number) {
    this.#intervalMs = intervalMs
    this.#now = now
  }

  add (stream: KeptAlive): void {
    this.#streams.add(stream)
    // Four looks per interval: a gap is at most a quarter longer than asked for.
    this.#timer ??= setInterval(() => this.#look(), Math.max(1, this.#intervalMs / 4)).unref()
  }

  remove (stream: KeptAlive): void {
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #look (): void {
    const now = this.#now()
    for (const stream of this.#streams) {
      if (now - stream.lastWriteAt >= this.#intervalMs) stream.keepAlive()
    }
  }
}
