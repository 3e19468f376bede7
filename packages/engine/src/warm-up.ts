import { blockId, sequenceId } from '@daybreak/kvcache'
import type { ForwardBatch, ModelRunner } from './contract.ts'
import { greedySampling } from './greedy-sampling.ts'

/**
 * Row counts on both sides of every matrix kernel's range: together they dispatch each variant once. Only the tensor-core kernels for
 * more than 256 rows are left out: real drivers compile with the pipeline, and so many rows would be seconds on a software adapter.
 */
const ROW_COUNTS = [1, 2, 3, 5, 9, 17, 33, 65, 129]

/**
 * Dispatches the variants of every product once. Software drivers finish compiling at the first dispatch (seconds on a software adapter), and that
 * must not be the first user's wait. What it leaves in the KV cache belongs to no sequence.
 */
export async function warmUp (runner: ModelRunner, onProgress: (done: number, total: number) => void): Promise<void> {
  const { maxBatchedTokens, maxLogitRows, maxModelLen, numKVBlocks, blockSize } = runner.limits
  const most = Math.min(maxBatchedTokens, maxModelLen, numKVBlocks * blockSize)
  const counts = ROW_COUNTS.filter(count => count <= most)
  for (const [step, count] of counts.entries()) {
    await runner.execute(warmUpBatch(step, count, Math.min(count, maxLogitRows - 1), blockSize))
    onProgress(step + 1, counts.length)
  }
}

function warmUpBatch (step: number, numTokens: number, numScores: number, blockSize: number): ForwardBatch {
  return {
    step,
    moves: [],
    sequences: [{
      id: sequenceId('warm-up'),
      stateRow: 0,
      tokens: new Array<number>(numTokens).fill(0),
      startPosition: 0,
      blockTable: Array.from({ length: Math.ceil(numTokens / blockSize) }, (_, block) => blockId(block)),
      sampling: greedySampling,
      history: undefined,
      scoreTargets: new Array<number>(numScores).fill(0),
      numScoreLogprobs: 1
    }]
  }
}
