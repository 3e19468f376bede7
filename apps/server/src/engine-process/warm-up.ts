import type { LoadProgress } from '@daybreak/engine'
import type { ForwardBatch, ForwardSequence, ModelRunner, RunnerLimits, SamplingParams } from '@daybreak/engine/contract'
import { blockId, blocksFor, sequenceId } from '@daybreak/kvcache'

/** One past the row counts at which engines change kernels: alone, few, a tile, many. */
const DECODE_SEQUENCES = [1, 2, 4, 8]
const PREFILL_TOKENS = [40, 200]

const sampling: SamplingParams = {
  temperature: 1,
  topK: 20,
  topP: 0.9,
  minP: 0,
  seed: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  logitBias: [],
  numLogprobs: 1
}

/**
 * Runs a few steps of every kind before the first request does: drivers translate a kernel when it first runs, which on a software
 * adapter takes seconds. Writes noise into the first KV blocks and state rows, so only a runner that holds nothing yet may be given.
 */
export async function warmUp (runner: ModelRunner, onProgress: (progress: LoadProgress) => void): Promise<void> {
  const batches = warmUpBatches(runner.limits)
  for (const [index, batch] of batches.entries()) {
    onProgress({ stage: 'kernels', done: index, total: batches.length, detail: 'running every kernel once' })
    await runner.execute(batch)
  }
  onProgress({ stage: 'kernels', done: batches.length, total: batches.length, detail: 'running every kernel once' })
}

function warmUpBatches ({ maxSequences, maxBatchedTokens, maxLogitRows, maxModelLen, numKVBlocks, blockSize }: RunnerLimits): ForwardBatch[] {
  const mostSequences = Math.min(maxSequences, maxBatchedTokens, maxLogitRows, numKVBlocks)
  const mostTokens = Math.min(maxBatchedTokens, maxModelLen - 1, numKVBlocks * blockSize)
  const decodes = fitting(DECODE_SEQUENCES, mostSequences).map(numSequences =>
    Array.from({ length: numSequences }, (_, row) => aSequence(row, 1, blockSize)))
  const prefills = fitting(PREFILL_TOKENS, mostTokens).map(numTokens => [aSequence(0, numTokens, blockSize)])
  return [...decodes, ...prefills].map((sequences, step) => ({ step, sequences, moves: [] }))
}

/** The sizes that are allowed; those too large shrink to the largest one. */
const fitting = (sizes: readonly number[], most: number): number[] => [...new Set(sizes.map(size => Math.min(size, most)))].filter(size => size > 0)

/** A prompt in blocks of its own: sequence `row` of several short ones, or one that begins at block 0. */
function aSequence (row: number, numTokens: number, blockSize: number): ForwardSequence {
  return {
    id: sequenceId(`warm-up-${row}`),
    stateRow: row,
    tokens: Array.from({ length: numTokens }, () => 0),
    startPosition: 0,
    blockTable: Array.from({ length: blocksFor(numTokens, blockSize) }, (_, index) => blockId(row + index)),
    sampling,
    history: undefined,
    scoreTargets: undefined,
    numScoreLogprobs: undefined
  }
}
