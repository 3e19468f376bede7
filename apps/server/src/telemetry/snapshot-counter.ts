/**
 * Reads a total that starts again at zero when the engine restarts as steps of a counter that only grows.
 */
export class SnapshotCounter {
  #last = 0

  /** How much was counted since the last call. */
  growth (total: number): number {
    const growth = total < this.#last ? total : total - this.#last
    this.#last = total
    return growth
  }
}
