/**
 * Of a step's shortest recent time, the part after which it may be finished. Below 1, so that an estimate that was too long shrinks, and
 * the delays with which steps are seen to end do not add up until the device runs dry.
 */
const CERTAIN_SHARE = 7 / 8

/**
 * How long the device takes for one kind of step, from the last two. Two, because a first one may include the driver's compiler, and
 * because expecting too much delays a result, while expecting too little costs some looks for it.
 */
export class StepEstimate {
  #last = 0
  #beforeLast = 0

  /** Milliseconds that the next step takes at least; 0 until two have been seen. */
  get leastMs (): number {
    return Math.min(this.#last, this.#beforeLast) * CERTAIN_SHARE
  }

  /** A step was seen to be finished after `ms`. */
  add (ms: number): void {
    this.#beforeLast = this.#last
    this.#last = ms
  }
}
