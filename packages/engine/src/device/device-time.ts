/**
 * Of steps of one kind that differ little, one in so many is timed. Two timestamps, which are resolved, converted and copied behind the pass, keep the device from
 * the next step for some 15 µs (H200) and cost the host as many; a token of a llama-3.2-1b takes 940.
 */
const TIMED_EVERY = 8

/** How long the device takes for one kind of step: what those of them took that were timed, each standing for those behind it. */
export class DeviceTime {
  readonly #every: number
  #untilTimed = 0
  #seconds: number | undefined

  /** @param alike steps of this kind that follow each other differ by a token of context, so that few need to be timed */
  constructor (alike: boolean) {
    this.#every = alike ? TIMED_EVERY : 1
  }

  /**
   * Asked once for every step that is submitted: whether it is one to be timed.
   * @param follows the step before was of this kind. Another's sequences may have quite other contexts: what they took is not remembered
   * @param alone nothing but the pass is to be done. A pass may be stamped as begun while the device still copies
   */
  next (follows: boolean, alone: boolean): boolean {
    if (!follows) this.#untilTimed = 0
    if (!alone && this.#every > 1 && this.#seconds !== undefined) return false
    const isTimed = this.#untilTimed === 0
    this.#untilTimed = (isTimed ? this.#every : this.#untilTimed) - 1
    return isTimed
  }

  /**
   * Called for every step in the order of submits.
   * @param measured what its timestamps say, in seconds; undefined where it was not timed, or they make no sense
   * @returns seconds; undefined when no step of this kind was ever measured
   */
  take (measured: number | undefined): number | undefined {
    this.#seconds = measured ?? this.#seconds
    return this.#seconds
  }
}
