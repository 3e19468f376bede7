import type { ForwardSequence, RunnerLimits } from '@daybreak/engine/contract'
import type { KVCache } from '@daybreak/kvcache'
import type { Sequence } from './sequence.ts'

/** One sequence's share of a step, and what its result will mean. */
export interface PlannedForward {
  readonly sequence: Sequence
  readonly start: number
  readonly numTokens: number
  /** A token is sampled after the last of these. */
  readonly samples: boolean
  /** Prompt tokens scored, the first being the one behind `start`; undefined when the prompt is not scored. */
  readonly numScores: number | undefined
}

/** The step being put together: what it holds, and what is left of the runner's limits. */
export class StepPlan {
  readonly forwards: PlannedForward[] = []
  #tokensLeft: number
  #logitRowsLeft: number

  constructor (limits: RunnerLimits) {
    this.#tokensLeft = limits.maxBatchedTokens
    this.#logitRowsLeft = limits.maxLogitRows
  }

  get tokensLeft (): number {
    return this.#tokensLeft
  }

  get logitRowsLeft (): number {
    return this.#logitRowsLeft
  }

  get isEmpty (): boolean {
    return this.forwards.length === 0
  }

  /** Nothing can be added that would get further than it is. */
  get isFull (): boolean {
    return this.#tokensLeft <= 0 || this.#logitRowsLeft <= 0
  }

  /** No more than so many tokens besides those that the step has. */
  limitTokens (count: number): void {
    this.#tokensLeft = Math.min(this.#tokensLeft, count)
  }

  add (forward: PlannedForward): void {
    this.forwards.push(forward)
    this.#tokensLeft -= forward.numTokens
    this.#logitRowsLeft -= (forward.samples ? 1 : 0) + (forward.numScores ?? 0)
  }
}

/** The plan's entry as the engine sees it: plain data that no later step changes. */
export function forwardSequence ({ sequence, start, numTokens, samples, numScores }: PlannedForward, kvCache: KVCache): ForwardSequence {
  const { id, stateRow, tokens, group, sampling } = sequence
  const scores = numScores !== undefined && numScores > 0
  return {
    id,
    stateRow,
    // Only the newest token can be unknown here, and the engine has it in the row.
    tokens: start < tokens.length ? tokens.slice(start, start + numTokens) : undefined,
    startPosition: start,
    blockTable: kvCache.blockTable(id),
    sampling: samples ? sampling : undefined,
    history: sequence.historyDue ? { promptTokens: group.promptTokens, outputTokens: tokens.slice(group.numPromptTokens) } : undefined,
    scoreTargets: scores ? tokens.slice(start + 1, start + 1 + numScores) : undefined,
    numScoreLogprobs: scores ? group.promptLogprobs : undefined
  }
}
