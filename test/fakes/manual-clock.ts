import type { Clock } from '../../apps/server/src/generation/clock.ts'

/** A clock that stands still until told to move; timers fire in order, each at its own time. */
export class ManualClock implements Clock {
  #now = 0
  #timers: Array<{ readonly due: number, readonly callback: () => void }> = []

  now (): number { return this.#now }

  after (ms: number, callback: () => void): () => void {
    const timer = { due: this.#now + ms, callback }
    this.#timers.push(timer)
    return () => { this.#timers = this.#timers.filter(other => other !== timer) }
  }

  advance (ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#timers.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter(timer => timer !== next)
      this.#now = Math.max(this.#now, next.due)
      next.callback()
    }
    this.#now = end
  }

  get numTimers (): number { return this.#timers.length }
}
