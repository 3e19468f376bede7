import type { OutputStream } from '../cli/command-context.ts'

const MIN_INTERVAL_MS = 100

/** One line of progress that rewrites itself on a terminal, and says nothing elsewhere. */
export class ProgressLine {
  readonly #stream: OutputStream
  #lastDrawn = -Infinity
  #isDrawn = false

  constructor (stream: OutputStream) {
    this.#stream = stream
  }

  /** @param detail what to say beside the bar, kept to the terminal's width */
  update (done: number, total: number, detail: string): void {
    const now = performance.now()
    if (this.#stream.isTTY !== true || (now - this.#lastDrawn < MIN_INTERVAL_MS && done < total)) return
    this.#lastDrawn = now
    this.#isDrawn = true
    const share = total > 0 ? Math.min(done / total, 1) : 0
    const bar = '█'.repeat(Math.round(share * 24)).padEnd(24, '░')
    this.#stream.write(`\r\x1b[2K${`${bar} ${done}/${total} ${detail}`.slice(0, (this.#stream.columns ?? 80) - 1)}`)
  }

  /** Takes the line away, so that what follows starts at the left edge. */
  clear (): void {
    if (this.#isDrawn) this.#stream.write('\r\x1b[2K')
    this.#isDrawn = false
  }
}
