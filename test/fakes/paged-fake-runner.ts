import type { ForwardBatch, ForwardSequence, HostTier, ModelRunner, RunnerLimits, SampledToken, ScoredToken, StepResult } from '@daybreak/engine/contract'
import type { SequenceId, TokenId } from '@daybreak/kvcache'
import type { FakeSteps } from './fake-engine-script.ts'
import { POISON_TOKEN } from './fake-engine-script.ts'
import { nextToken } from './fake-language.ts'

/**
 * A runner whose "keys and values" are the tokens themselves, kept block by block where the batch says: a wrong block table, a lost
 * copy or a stale state row gives other tokens. Steps take effect in the order they were submitted, as on a device.
 */
export class PagedFakeRunner implements ModelRunner {
  readonly limits: RunnerLimits
  readonly hostTier: HostTier | undefined
  readonly #steps: FakeSteps
  readonly #kv: Int32Array
  readonly #host: Int32Array
  readonly #lastSampled: Int32Array

  constructor (limits: RunnerLimits, steps: FakeSteps, numHostSlots = 0) {
    this.limits = limits
    this.hostTier = numHostSlots === 0 ? undefined : { numSlots: numHostSlots, groupSize: 1, blockSeconds: 1e-6 }
    this.#host = new Int32Array(numHostSlots * limits.blockSize)
    this.#steps = steps
    this.#kv = new Int32Array(limits.numKVBlocks * limits.blockSize).fill(-1)
    this.#lastSampled = new Int32Array(limits.maxSequences).fill(-1)
  }

  async execute (batch: ForwardBatch): Promise<StepResult> {
    const { blockSize } = this.limits
    for (const { block, slot } of batch.swapOuts ?? []) this.#host.set(this.#kv.subarray(block * blockSize, (block + 1) * blockSize), slot * blockSize)
    for (const { block, slot } of batch.swapIns ?? []) this.#kv.set(this.#host.subarray(slot * blockSize, (slot + 1) * blockSize), block * blockSize)
    for (const { from, to } of batch.moves) this.#kv.copyWithin(to * blockSize, from * blockSize, (from + 1) * blockSize)
    const sampled: SampledToken[] = []
    const scored = new Map<SequenceId, readonly ScoredToken[]>()
    let poisoned = false
    for (const sequence of batch.sequences) {
      const tokens = sequence.tokens ?? [this.#lastSampled[sequence.stateRow] ?? -1]
      poisoned ||= tokens.includes(POISON_TOKEN)
      for (const [index, token] of tokens.entries()) this.#kv[this.#slot(sequence, sequence.startPosition + index)] = token
      if (sequence.scoreTargets !== undefined) {
        scored.set(sequence.id, sequence.scoreTargets.map(token => ({ token, logprob: -1, topLogprobs: [] })))
      }
      if (sequence.sampling === undefined) continue
      const context: TokenId[] = []
      for (let position = 0; position < sequence.startPosition + tokens.length; position++) context.push(this.#kv[this.#slot(sequence, position)] ?? -1)
      const token = nextToken(context, sequence.sampling.seed)
      this.#lastSampled[sequence.stateRow] = token
      const { numLogprobs } = sequence.sampling
      const topLogprobs = numLogprobs === undefined ? undefined : Array.from({ length: numLogprobs }, (_, i) => ({ token: i, logprob: -i }))
      sampled.push({ id: sequence.id, token, logprob: -1, topLogprobs })
    }
    await this.#steps.next(poisoned)
    return { sampled, scored, deviceSeconds: 0, hostSeconds: 0 }
  }

  async [Symbol.asyncDispose] (): Promise<void> {}

  #slot ({ blockTable }: ForwardSequence, position: number): number {
    const { blockSize } = this.limits
    return (blockTable[Math.floor(position / blockSize)] ?? NaN) * blockSize + position % blockSize
  }
}
