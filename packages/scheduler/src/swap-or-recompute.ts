import type { ForwardBatch, StepResult } from '@daybreak/engine/contract'
import type { PreemptionMode } from './config.ts'

/** Weight of what was known before a step, when the step tells something new. */
const MEMORY = 0.9

/** What giving up a sequence's blocks costs, either way. */
export interface LostWork {
  /** Blocks that would be copied out and back; 0: they cannot be. */
  readonly numBlocks: number
  /** Tokens in them, which would be computed again. */
  readonly numTokens: number
}

/**
 * Chooses what is faster for a sequence that is preempted: copying its blocks to the host and back, or computing them again. Both are
 * device time, since there is one queue, and both are estimated from what recent steps took. As long as either is unknown: computing.
 */
export class SwapOrRecompute {
  readonly #mode: PreemptionMode
  readonly #prefill = new Rate()
  readonly #copied = new Rate()
  readonly #firstBlockSeconds: number | undefined

  /** @param firstBlockSeconds of one block, one way, until swaps have been timed; undefined: unknown */
  constructor (mode: PreemptionMode, firstBlockSeconds: number | undefined) {
    this.#mode = mode
    this.#firstBlockSeconds = firstBlockSeconds
  }

  /** Copying one block one way. Seconds. */
  get blockSeconds (): number | undefined {
    return this.#copied.secondsEach ?? this.#firstBlockSeconds
  }

  /** Computing one token of a prompt. Seconds. */
  get tokenSeconds (): number | undefined {
    return this.#prefill.secondsEach
  }

  swaps ({ numBlocks, numTokens }: LostWork): boolean {
    if (numBlocks === 0 || this.#mode === 'recompute') return false
    if (this.#mode === 'swap') return true
    const { blockSeconds, tokenSeconds } = this
    return blockSeconds !== undefined && tokenSeconds !== undefined && 2 * numBlocks * blockSeconds < numTokens * tokenSeconds
  }

  /** Learns from a step. */
  observe ({ sequences, swapOuts = [], swapIns = [] }: ForwardBatch, { deviceSeconds, swapSeconds = 0 }: StepResult): void {
    this.#copied.add(swapOuts.length + swapIns.length, swapSeconds)
    let numTokens = 0
    let numPrefillTokens = 0
    for (const { tokens } of sequences) {
      const length = tokens?.length ?? 1
      numTokens += length
      if (length > 1) numPrefillTokens += length
    }
    // Recomputing is like a prompt. Of a step that is mostly decodes, one cannot tell what its few prompt tokens took.
    if (2 * numPrefillTokens > numTokens) this.#prefill.add(numTokens, deviceSeconds)
  }
}

/** Seconds for each of something, over recent steps and the more of it they had the more they count. */
class Rate {
  #count = 0
  #seconds = 0

  get secondsEach (): number | undefined {
    return this.#count > 0 && this.#seconds > 0 ? this.#seconds / this.#count : undefined
  }

  add (count: number, seconds: number): void {
    if (count === 0) return
    this.#count = this.#count * MEMORY + count
    this.#seconds = this.#seconds * MEMORY + seconds
  }
}
