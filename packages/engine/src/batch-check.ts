import type { TokenId } from '@daybreak/kvcache'
import type { ForwardBatch, ForwardSequence, RunnerLimits, SamplingParams } from './contract.ts'
import { InvalidBatchError } from './errors.ts'

/** Most alternatives a sampled token reports. */
export const maxTopLogprobs = 20
/** Most biases a sampled token takes. */
export const maxLogitBiases = 1024

/** Made once: most sequences of a step have no tokens of the host's, no scores and no biases. */
const NONE: readonly TokenId[] = []
const NO_BIASES: SamplingParams['logitBias'] = []

/** What a batch takes of the step buffer. */
export interface BatchCounts {
  readonly tokens: number
  readonly logitRows: number
  /** Words of block tables, and of biases. */
  readonly tableWords: number
  readonly biasWords: number
}

/**
 * Counts everything and checks the batch against the limits: all but the blocks of tables (`checkTable`), which are many and
 * mostly those of the step before.
 * @throws InvalidBatchError when the batch breaks the contract
 */
export function checkBatch (batch: ForwardBatch, limits: RunnerLimits): BatchCounts {
  const { blockSize, maxBatchedTokens, maxSequences, maxLogitRows, numKVBlocks } = limits
  const refuse = (problem: string): never => { throw new InvalidBatchError({ step: batch.step, problem }) }
  const counts = { tokens: 0, logitRows: 0, tableWords: 0, biasWords: 0 }
  if (batch.sequences.length > maxSequences) refuse(`${batch.sequences.length} sequences; at most ${maxSequences}`)
  for (const { from, to } of batch.moves) {
    if (!(from >= 0 && from < numKVBlocks && to >= 0 && to < numKVBlocks && from !== to)) refuse(`copies block ${from} to ${to} of ${numKVBlocks}`)
  }
  const rowsTaken = new Uint8Array(maxSequences)
  for (const sequence of batch.sequences) {
    const { stateRow, tokens, startPosition, scoreTargets, sampling } = sequence
    const problem = problemOf(sequence, limits)
    if (problem !== undefined) refuse(`sequence ${sequence.id} ${problem}`)
    if (rowsTaken[stateRow] === 1) refuse(`sequence ${sequence.id} shares state row ${stateRow}`)
    rowsTaken[stateRow] = 1
    const length = tokens?.length ?? 1
    counts.tokens += length
    counts.logitRows += (scoreTargets?.length ?? 0) + (sampling === undefined ? 0 : 1)
    counts.tableWords += Math.ceil((startPosition + length) / blockSize)
    counts.biasWords += 2 * (sampling?.logitBias.length ?? 0)
  }
  if (counts.tokens > maxBatchedTokens) refuse(`${counts.tokens} tokens; at most ${maxBatchedTokens}`)
  if (counts.logitRows > maxLogitRows) refuse(`${counts.logitRows} logit rows; at most ${maxLogitRows}`)
  return counts
}

/** @throws InvalidBatchError when a table names a block that the cache has not */
export function checkTable ({ step }: ForwardBatch, { id, blockTable }: ForwardSequence, { numKVBlocks }: RunnerLimits): void {
  for (const block of blockTable) {
    if (!(block >= 0 && block < numKVBlocks)) throw new InvalidBatchError({ step, problem: `sequence ${id} uses block ${block} of ${numKVBlocks}` })
  }
}

/** What is wrong with one sequence by itself, if anything. */
function problemOf (sequence: ForwardSequence, { blockSize, maxSequences, maxModelLen, vocabSize }: RunnerLimits): string | undefined {
  const { stateRow, tokens, startPosition, blockTable, sampling, scoreTargets, numScoreLogprobs = 0 } = sequence
  const length = tokens?.length ?? 1
  const context = startPosition + length
  const blocks = Math.ceil(context / blockSize)
  if (!(startPosition >= 0)) return `starts at ${startPosition}`
  if (length === 0) return 'computes no token'
  if (context > maxModelLen) return `reaches ${context} tokens; the model's context is ${maxModelLen}`
  if (blockTable.length < blocks) return `needs ${blocks} blocks and has ${blockTable.length}`
  if (!(stateRow >= 0 && stateRow < maxSequences)) return `has state row ${stateRow} of ${maxSequences}`
  for (const token of tokens ?? NONE) if (!(token >= 0 && token < vocabSize)) return `has token ${token} of ${vocabSize}`
  for (const token of scoreTargets ?? NONE) if (!(token >= 0 && token < vocabSize)) return `scores token ${token} of ${vocabSize}`
  if (scoreTargets !== undefined && scoreTargets.length > length) return 'scores more tokens than it computes'
  // More would overwrite the next row's results, or overflow the step buffer.
  const logprobs = Math.max(sampling?.numLogprobs ?? 0, numScoreLogprobs)
  if (logprobs > maxTopLogprobs) return `asks for ${logprobs} logprobs; at most ${maxTopLogprobs}`
  const biases = sampling?.logitBias ?? NO_BIASES
  if (biases.length > maxLogitBiases) return `has ${biases.length} biases; at most ${maxLogitBiases}`
  for (const [token] of biases) if (!(token >= 0 && token < vocabSize)) return `biases token ${token} of ${vocabSize}`
  return undefined
}
