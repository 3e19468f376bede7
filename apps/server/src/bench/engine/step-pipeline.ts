import type { ForwardBatch, ForwardSequence, ModelRunner, StepResult } from '@daybreak/engine/contract'

/** What a run of steps measured. */
export interface StepTimings {
  /** From the first submission to the last result. */
  readonly seconds: number
  /** Gaps between results, one fewer than steps: with steps in flight, what each adds. */
  readonly gaps: readonly number[]
  readonly deviceSeconds: readonly number[]
  readonly hostSeconds: readonly number[]
  /** Of each step; 0 for those that swapped nothing. */
  readonly swapSeconds: readonly number[]
}

/** A step's sequences, or these and its swaps. */
export type StepWork = readonly ForwardSequence[] | Pick<ForwardBatch, 'sequences' | 'swapOuts' | 'swapIns'>

// The depth the runner is built for: one step runs while the next is encoded.
const STEPS_IN_FLIGHT = 2

/** Submits steps to a runner in order, numbered over its whole life, with two in flight. */
export class StepPipeline {
  readonly #runner: ModelRunner
  readonly #now: () => number
  #step = 0

  /** @param now seconds, monotonic */
  constructor (runner: ModelRunner, now: () => number) {
    this.#runner = runner
    this.#now = now
  }

  /** Steps submitted so far: the number of the next one. */
  get numSteps (): number {
    return this.#step
  }

  /** Runs `count` steps made by `workOf`, which is called once per step in order. */
  async run (count: number, workOf: (index: number) => StepWork): Promise<StepTimings> {
    const start = this.#now()
    const results: StepResult[] = []
    const times: number[] = []
    const inFlight: Array<Promise<StepResult>> = []
    const settleOldest = async (): Promise<void> => {
      const result = await inFlight.shift()
      if (result === undefined) return
      times.push(this.#now())
      results.push(result)
    }
    try {
      for (let index = 0; index < count; index++) {
        if (inFlight.length === STEPS_IN_FLIGHT) await settleOldest()
        const work = workOf(index)
        inFlight.push(this.#runner.execute({ step: this.#step++, moves: [], ...'sequences' in work ? work : { sequences: work } }))
      }
      while (inFlight.length > 0) await settleOldest()
    } finally {
      // After a failure the steps behind it fail as well; their rejections belong to nobody.
      await Promise.allSettled(inFlight)
    }
    return {
      seconds: (times.at(-1) ?? start) - start,
      gaps: times.slice(1).map((time, i) => time - (times[i] ?? time)),
      deviceSeconds: results.map(({ deviceSeconds }) => deviceSeconds),
      hostSeconds: results.map(({ hostSeconds }) => hostSeconds),
      swapSeconds: results.map(({ swapSeconds = 0 }) => swapSeconds)
    }
  }
}
