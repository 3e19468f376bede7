import type { ForwardBatch, StepResult } from '@daybreak/engine/contract'
import type { PreemptionMode } from './config.ts'

/** Weight of what was known before a step, when the step tells something new. */
const MEMORY = 0.9
/** Blocks that the first guess counts for, beside what steps tell: it was measured with about as many, and nothing makes it wrong later. */
const GUESSED_BLOCKS = 64

/** What giving up a sequence's blocks costs, either way. */
export interface LostWork {
  /** Blocks that would be copied out and back; 0: they cannot be. */
  readonly numBlocks: number
  /** Tokens in them, which would be computed again. */
  readonly numTokens: number
}

/**
 * Chooses what is faster for a sequence that is preempted: copying its blocks to the host and back, or computing them again. Both are
 * device time, since there is one queue (copying is the submitting thread's where that is busy for longer), and both are estimated from what
 * recent steps took. As long as either is unknown: computing.
 */
export class SwapOrRecompute {
  readonly #mode: PreemptionMode
  readonly #prefill = new Rate()
  readonly #copied: Rate

  /** @param firstBlockSeconds a guess of one block, one way, which swaps that are timed correct; undefined: none */
  constructor (mode: PreemptionMode, firstBlockSeconds: number | undefined) {
    this.#mode = mode
    this.#copied = new Rate(firstBlockSeconds === undefined ? undefined : { secondsEach: firstBlockSeconds, count: GUESSED_BLOCKS })
  }

  /** Copying one block one way. Seconds. */
  get blockSeconds (): number | undefined {
    return this.#copied.secondsEach
  }

  /** Computing one token of a prompt. Seconds. */
  get tokenSeconds (): number | undefined {
    return this.#prefill.secondsEach
  }

  /** Blocks that are copied, one way, in the time that so many tokens of a prompt take; 0 as long as either is unknown. */
  blocksIn (numTokens: number): number {
    const { blockSeconds, tokenSeconds } = this
    return blockSeconds === undefined || tokenSeconds === undefined ? 0 : Math.floor(numTokens * tokenSeconds / blockSeconds)
  }

  swaps ({ numBlocks, numTokens }: LostWork): boolean {
    if (numBlocks === 0 || this.#mode === 'recompute') return false
    if (this.#mode === 'swap') return true
    const { blockSeconds, tokenSeconds } = this
    return blockSeconds !== undefined && tokenSeconds !== undefined && 2 * numBlocks * blockSeconds < numTokens * tokenSeconds
  }

  /** Learns from a step. */
  observe ({ sequences, swapOuts = [], swapIns = [] }: ForwardBatch, { deviceSeconds, swapSeconds = 0 }: StepResult): void {
    // Every step forgets some of it: a slow swap must not decide against swapping for good, since none would follow to correct it.
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

/** Seconds for each of something, over recent steps, beside a guess: the more of it they had the more they count. */
class Rate {
  readonly #guess: { readonly secondsEach: number, readonly count: number } | undefined
  #count = 0
  #seconds = 0

  constructor (guess?: { readonly secondsEach: number, readonly count: number }) {
    this.#guess = guess
  }

  get secondsEach (): number | undefined {
    const { secondsEach: guessed = 0, count: guesses = 0 } = this.#guess ?? {}
    const seconds = this.#seconds + guesses * guessed
    return this.#count + guesses > 0 && seconds > 0 ? seconds / (this.#count + guesses) : undefined
  }

  /** Of nothing only forgets, where there is a guess to go back to. */
  add (count: number, seconds: number): void {
    if (count === 0 && this.#guess === undefined) return
    this.#count = this.#count * MEMORY + count
    this.#seconds = this.#seconds * MEMORY + seconds
  }
}
