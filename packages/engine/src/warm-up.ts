import { blockId, sequenceId } from '@daybreak/kvcache'
import type { ForwardBatch, ModelRunner, RunnerLimits } from './contract.ts'
import { decodeBatch } from './bench/bench-batches.ts'
import type { EnginePlan } from './engine-plan.ts'
import { greedySampling } from './greedy-sampling.ts'
import { mostMergedParts } from './kernels/matmul/gemv-merged.ts'

/**
 * Row counts on both sides of every matrix kernel's range. Only the tensor-core kernels for more than 256 rows are left out: real drivers
 * compile with the pipeline, and so many rows would be seconds on a software adapter.
 */
const ROW_COUNTS = [1, 2, 3, 5, 9, 17, 33, 65, 129]

/** The last tokens of a lone sequence, of which all but one are scored, or none. */
interface WarmUpStep { readonly numTokens: number, readonly context: number, readonly scored: boolean }

/**
 * Dispatches what a lone sequence does, for up to 256 rows and at any context: each variant of every product, and attention of prompts and of single
 * tokens. Software drivers finish compiling at the first dispatch (seconds on a software adapter), and that must not be the first user's wait.
 * What it leaves in the KV cache belongs to no sequence.
 * @param together numbers of sequences whose steps have kernels of their own, or as many of them as there is room for; others that decode together on tensor cores, and those that share a prefix, may still be
 *   the first to use a variant of attention
 */
export async function warmUp (runner: ModelRunner, plan: WarmUpPlan, together: readonly number[], onProgress: (done: number, total: number) => void): Promise<void> {
  const { limits } = runner
  const batches = [
    ...warmUpSteps(limits, plan).map(shape => (step: number) => warmUpBatch(step, shape, limits)),
    ...together.map(rows => (step: number) => ({ ...decodeBatch(Math.min(rows, limits.maxSequences, limits.maxBatchedTokens, limits.numKVBlocks), 1, limits), step }))
  ]
  for (const [step, batch] of batches.entries()) {
    await runner.execute(batch(step))
    onProgress(step + 1, batches.length)
  }
}

type WarmUpPlan = Pick<EnginePlan, 'attention' | 'partedProducts' | 'stepLayout'>

function warmUpSteps ({ maxBatchedTokens, maxModelLen, numKVBlocks, blockSize }: RunnerLimits, { attention, partedProducts, stepLayout }: WarmUpPlan): readonly WarmUpStep[] {
  const longest = Math.min(maxModelLen, numKVBlocks * blockSize)
  const counts = ROW_COUNTS.filter(count => count <= Math.min(maxBatchedTokens, longest))
  // As many rows of logits as tokens: the head has variants, too.
  const rows = counts.map(count => ({ numTokens: count, context: count, scored: true }))
  // Where the norm has to add up parts, the head's only row is not computed as a single token's is.
  const prompts = partedProducts ? counts.slice(1).map(count => ({ numTokens: count, context: count, scored: false })) : []
  const decodes = attention.type === 'matrix' ? loneContexts(stepLayout.split, longest).map(context => ({ numTokens: 1, context, scored: false })) : []
  return [...rows, ...prompts, ...decodes]
}

/** The shortest context, of more than one token, of each way to attend a lone token: by subgroups, in one part, in few that the projection merges, or in more. */
function loneContexts (split: EnginePlan['stepLayout']['split'], longest: number): readonly number[] {
  const wayOf = (context: number): string => {
    const { keys, subgroups } = split(1, context)
    const parts = Math.ceil(context / keys)
    return `${subgroups} ${parts === 1 ? 'one' : parts <= mostMergedParts ? 'few' : 'many'}`
  }
  const known = new Set([wayOf(1)])
  const contexts: number[] = []
  for (let context = 2; context <= longest; context++) {
    const way = wayOf(context)
    if (known.has(way)) continue
    known.add(way)
    contexts.push(context)
  }
  return contexts
}

/** The last tokens of a sequence that is nobody's, in the KV cache's first blocks. */
export function warmUpBatch (step: number, { numTokens, context, scored }: WarmUpStep, { blockSize, maxLogitRows }: RunnerLimits): ForwardBatch {
  const numScores = scored ? Math.min(numTokens, maxLogitRows) - 1 : 0
  return {
    step,
    moves: [],
    sequences: [{
      id: sequenceId('warm-up'),
      stateRow: 0,
      tokens: new Array<number>(numTokens).fill(0),
      startPosition: context - numTokens,
      blockTable: Array.from({ length: Math.ceil(context / blockSize) }, (_, block) => blockId(block)),
      sampling: greedySampling,
      history: undefined,
      scoreTargets: numScores === 0 ? undefined : new Array<number>(numScores).fill(0),
      numScoreLogprobs: numScores === 0 ? undefined : 1
    }]
  }
}
