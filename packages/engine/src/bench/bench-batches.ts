import { blockId, sequenceId } from '@daybreak/kvcache'
import type { ForwardBatch, ForwardSequence, RunnerLimits } from '../contract.ts'
import { greedySampling } from '../greedy-sampling.ts'

type BatchLimits = Pick<RunnerLimits, 'blockSize' | 'vocabSize'>

/** Prompts that `rows` tokens are cut into: long enough to be like prompts, short enough for any model. */
export const ROWS_OF_A_PROMPT = 256

/** A step of so many tokens, of which the first `logitRows` are scored. */
export function rowsBatch (rows: number, logitRows: number, limits: BatchLimits): ForwardBatch {
  const prompts = Math.ceil(rows / ROWS_OF_A_PROMPT)
  return batch(Array.from({ length: prompts }, (_, prompt) => {
    const first = prompt * ROWS_OF_A_PROMPT
    const count = Math.min(ROWS_OF_A_PROMPT, rows - first)
    const scores = Math.max(0, Math.min(count, logitRows - first))
    return {
      ...sequence(prompt, prompts, count, count, limits),
      scoreTargets: scores === 0 ? undefined : randomTokens(scores, prompt + 1, limits),
      numScoreLogprobs: scores === 0 ? undefined : 0
    }
  }))
}

/** A prompt's last `tokens`, at the end of `context`. */
export function promptBatch (tokens: number, context: number, limits: BatchLimits): ForwardBatch {
  return batch([sequence(0, 1, tokens, context, limits)])
}

/** A greedily sampled token for each of `numSequences`, the last of `context`. */
export function decodeBatch (numSequences: number, context: number, limits: BatchLimits): ForwardBatch {
  return batch(Array.from({ length: numSequences }, (_, row) => ({ ...sequence(row, numSequences, 1, context, limits), sampling: greedySampling })))
}

/** How sequences begin alike: so many of them each share the blocks of their first `keys` keys. */
export interface SharedKeys { readonly keys: number, readonly degree: number }

/** As `decodeBatch`, but neighbours share their first whole blocks. No block is left out: what is read comes to what is allocated. */
export function sharingBatch (numSequences: number, context: number, { keys, degree }: SharedKeys, limits: BatchLimits): ForwardBatch {
  const shared = Math.floor(keys / limits.blockSize)
  const firstOwn = shared * Math.ceil(numSequences / degree)
  return batch(decodeBatch(numSequences, context, limits).sequences.map((own, row) => ({
    ...own,
    blockTable: own.blockTable.map((_, block) => blockId(block < shared ? Math.floor(row / degree) * shared + block : firstOwn + (block - shared) * numSequences + row))
  })))
}

function batch (sequences: readonly ForwardSequence[]): ForwardBatch {
  return { step: 0, moves: [], sequences }
}

/** Blocks of all sequences alternate, as they do when sequences grow side by side. */
function sequence (row: number, numSequences: number, tokens: number, context: number, limits: BatchLimits): ForwardSequence {
  return {
    id: sequenceId(`bench-${row}`),
    stateRow: row,
    tokens: randomTokens(tokens, row, limits),
    startPosition: context - tokens,
    blockTable: Array.from({ length: Math.ceil(context / limits.blockSize) }, (_, block) => blockId(block * numSequences + row)),
    sampling: undefined,
    history: undefined,
    scoreTargets: undefined,
    numScoreLogprobs: undefined
  }
}

/** Spread over the vocabulary: rows of an embedding that lie side by side would come faster. */
function randomTokens (count: number, seed: number, { vocabSize }: BatchLimits): number[] {
  return Array.from({ length: count }, (_, i) => Math.imul(i + 7919 * seed + 1, 0x9e3779b1) >>> 0).map(token => token % vocabSize)
}
