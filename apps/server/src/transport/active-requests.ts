/** Something that can be told to stop because the server does. */
export interface Stoppable { stop (): void }

/** The requests being answered now: what a drain waits for, and a shutdown stops. */
export class ActiveRequests {
  readonly #requests = new Set<Stoppable>()
  readonly #waiters = new Set<() => void>()

  get size (): number { return this.#requests.size }

  add (request: Stoppable): void {
    this.#requests.add(request)
  }

  remove (request: Stoppable): void {
    this.#requests.delete(request)
    if (this.#requests.size > 0) return
    for (const wake of this.#waiters) wake()
    this.#waiters.clear()
  }

  /** Resolves when no request is active. */
  async idle (): Promise<void> {
    if (this.#requests.size > 0) await new Promise<void>(resolve => { this.#waiters.add(resolve) })
  }

  stopAll (): void {
    for (const request of this.#requests) request.stop()
  }
}
