import type { ForwardSequence, RunnerLimits } from '@daybreak/engine/contract'
import { greedySampling } from '@daybreak/engine/greedy-sampling'
import { blockId, blocksFor, sequenceId } from '@daybreak/kvcache'
import type { BlockTable, SequenceId } from '@daybreak/kvcache'
import type { RandomStream } from '../random-stream.ts'

/** One sequence of a benchmark: random prompt, its own consecutive KV blocks, greedy sampling. */
export class BenchSequence {
  readonly id: SequenceId
  readonly #row: number
  readonly #prompt: readonly number[]
  readonly #blockTable: BlockTable
  #position = 0

  /** @param length tokens it will ever hold, which sets its blocks: those from `row · blocks` on */
  constructor (row: number, promptTokens: number, length: number, limits: RunnerLimits, random: RandomStream) {
    const numBlocks = blocksFor(length, limits.blockSize)
    this.id = sequenceId(`bench-${row}`)
    this.#row = row
    this.#prompt = Array.from({ length: promptTokens }, () => random.integer(0, limits.vocabSize - 1))
    this.#blockTable = Array.from({ length: numBlocks }, (_, block) => blockId(row * numBlocks + block))
  }

  get numPromptTokensLeft (): number {
    return Math.max(0, this.#prompt.length - this.#position)
  }

  /** Begins again with an empty context. */
  restart (): void {
    this.#position = 0
  }

  /** The next at most `maxTokens` prompt tokens; a token is sampled after the last. */
  prefill (maxTokens: number): ForwardSequence {
    const tokens = this.#prompt.slice(this.#position, this.#position + maxTokens)
    return this.#forward(tokens, tokens.length, this.numPromptTokensLeft === tokens.length)
  }

  /** One token: the one sampled last, which stays on the device. */
  decode (): ForwardSequence {
    return this.#forward(undefined, 1, true)
  }

  #forward (tokens: readonly number[] | undefined, numTokens: number, isSampled: boolean): ForwardSequence {
    const startPosition = this.#position
    this.#position += numTokens
    return {
      id: this.id,
      stateRow: this.#row,
      tokens,
      startPosition,
      blockTable: this.#blockTable,
      sampling: isSampled ? greedySampling : undefined,
      history: undefined,
      scoreTargets: undefined,
      numScoreLogprobs: undefined
    }
  }
}
