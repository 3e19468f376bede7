import { attentionMmaSplit } from '../kernels/attention/attention-mma-split.ts'
import { attentionMmaTile } from '../kernels/attention/attention-mma-tile.ts'
import { attentionSplitKernel } from '../kernels/attention/attention-split.ts'
import { attentionTileKernel } from '../kernels/attention/attention-tile.ts'
import { attentionMerge, attentionReduce } from '../kernels/model-kernels.ts'
import type { Recorder } from './norms.ts'
import type { LayerContext } from './layer-context.ts'

/** Binds one layer's keys and values to attention's kernels. */
export type BindAttention = (kv: GPUBuffer) => Recorder

/**
 * Attention's kernels for layers of one window: tiles of consecutive query tokens, then single tokens split by split, then their merge.
 * @param window keys a query sees; undefined: all before it
 */
export async function createAttention (context: LayerContext, window: number | undefined): Promise<BindAttention> {
  const { config, pipelines, buffers, blockSize, attention: plan } = context
  const { numHeads, numKVHeads, headDim, attention } = config
  const { q, partialOut, partialMaxSum, step, attended } = buffers
  const partials = { partial_out: partialOut, partial_max_sum: partialMaxSum }
  const sizes = { NUM_KV_HEADS: numKVHeads, BLOCK_SIZE: blockSize, WINDOW: window ?? 0, SOFTCAP: attention.softcap ?? 1 }
  const heads = { NUM_HEADS: numHeads, HEAD_DIM: headDim, WINDOW: window ?? 0 }

  if (plan.type === 'ordered') {
    const [tile, split, reduce] = await Promise.all([
      pipelines.get(attentionTileKernel(plan.tile), sizes),
      pipelines.get(attentionSplitKernel(plan.tile), sizes),
      pipelines.get(attentionReduce, heads)
    ])
    const reduceGroup = reduce.bind({ ...partials, step, y: attended })
    return kv => {
      const tileGroup = tile.bind({ q, kv, step, y: attended })
      const splitGroup = split.bind({ q, kv, step, ...partials })
      return (list, shape) => {
        list.dispatch('attention_tile', tile, tileGroup, [numKVHeads, shape.tiles, 1])
        list.dispatch('attention_split', split, splitGroup, [shape.splits, numKVHeads, shape.singles])
        list.dispatch('attention_reduce', reduce, reduceGroup, [numHeads, shape.singles, 1])
      }
    }
  }
  const [tile, split, merge] = await Promise.all([
    pipelines.get(attentionMmaTile(plan.tile), sizes),
    pipelines.get(attentionMmaSplit(plan.split), sizes),
    pipelines.get(attentionMerge, heads)
  ])
  const mergeGroup = merge.bind({ ...partials, step, y: attended })
  return kv => {
    const tileGroup = tile.bind({ q, kv, step, y: attended })
    const splitGroup = split.bind({ q, kv, step, ...partials, y: attended })
    return (list, shape) => {
      list.dispatch('attention_tile', tile, tileGroup, [numKVHeads, shape.tiles, 1])
      list.dispatch('attention_split', split, splitGroup, [shape.splits, numKVHeads, shape.singles])
      // Rows of one split are finished where they are attended.
      if (shape.splits > 1) list.dispatch('attention_merge', merge, mergeGroup, [numHeads, shape.singles, 1])
    }
  }
}
