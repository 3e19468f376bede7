/**
 * Runs pieces of work in the order in which they come, each when those before it are over. One that has nothing to wait for has run
 * when `run` returns.
 */
export class InOrder {
  #last: Promise<void> | undefined

  /** What `work` returns, throws, or comes to. Whether it fails is no concern of those behind it. */
  run<T> (work: () => T | Promise<T>): T | Promise<T> {
    const result = this.#last === undefined ? work() : this.#last.then(work)
    if (!(result instanceof Promise)) return result
    const over = (): void => { if (this.#last === last) this.#last = undefined }
    const last = result.then(over, over)
    this.#last = last
    return result
  }
}
