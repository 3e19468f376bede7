import { attentionGroupKernel } from '../kernels/attention/attention-group.ts'
import { attentionMmaGroup, attentionMmaGroupMembers } from '../kernels/attention/attention-mma-group.ts'
import { attentionMmaTile } from '../kernels/attention/attention-mma-tile.ts'
import { attentionSplitKernel } from '../kernels/attention/attention-split.ts'
import { attentionTileKernel } from '../kernels/attention/attention-tile.ts'
import { attentionVector } from '../kernels/attention/attention-vector.ts'
import { attentionMerge, attentionReduce } from '../kernels/model-kernels.ts'
import type { Pipeline } from '../kernels/pipeline-cache.ts'
import type { Recorder } from './norms.ts'
import type { LeavesParts } from './attention-output.ts'
import type { LayerContext } from './layer-context.ts'

/** Binds one layer's keys and values to attention's kernels; `leavesParts`: where whoever reads the result merges its parts. */
export type BindAttention = (kv: GPUBuffer, leavesParts?: LeavesParts) => Recorder

/**
 * Attention's kernels for layers of one window: tiles of consecutive query tokens, then single tokens: keys that several share, their own keys
 * split by split, and the merge of both.
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
    const groups = new Map(await Promise.all(plan.groups.map(async shape => [shape.queries, await pipelines.get(attentionGroupKernel(shape), sizes)] as const)))
    const [tile, split, reduce] = await Promise.all([
      pipelines.get(attentionTileKernel(plan.tile), sizes),
      pipelines.get(attentionSplitKernel(plan.tile), sizes),
      pipelines.get(attentionReduce, heads)
    ])
    const reduceGroup = reduce.bind({ ...partials, step, y: attended })
    return kv => {
      const tileGroup = tile.bind({ q, kv, step, y: attended })
      const splitGroup = split.bind({ q, kv, step, ...partials })
      const recordGroups = groupRecorder(groups, { q, kv, step, ...partials }, numKVHeads)
      return (list, shape) => {
        list.dispatch('attention_tile', tile, tileGroup, [numKVHeads, shape.tiles, 1])
        recordGroups(list, shape)
        list.dispatch('attention_split', split, splitGroup, [shape.splits, numKVHeads, shape.singles])
        list.dispatch('attention_reduce', reduce, reduceGroup, [numHeads, shape.singles, 1])
      }
    }
  }
  const groups = new Map(await Promise.all(plan.groups.map(async shape => [attentionMmaGroupMembers(shape), await pipelines.get(attentionMmaGroup(shape), sizes)] as const)))
  const splits = await Promise.all(plan.splits.map(async shape => ({ subgroups: shape.subgroups, leastRows: shape.leastRows ?? 0, pipeline: await pipelines.get(attentionVector(shape), sizes) })))
  const [tile, merge] = await Promise.all([
    pipelines.get(attentionMmaTile(plan.tile), sizes),
    pipelines.get(attentionMerge, heads)
  ])
  const mergeGroup = merge.bind({ ...partials, step, y: attended })
  return (kv, leavesParts) => {
    const tileGroup = tile.bind({ q, kv, step, y: attended })
    const splitGroup = splits[0]?.pipeline.bind({ q, kv, step, ...partials, y: attended })
    const recordGroups = groupRecorder(groups, { q, kv, step, ...partials }, numKVHeads)
    return (list, shape) => {
      list.dispatch('attention_tile', tile, tileGroup, [numKVHeads, shape.tiles, 1])
      recordGroups(list, shape)
      const split = splits.findLast(({ subgroups, leastRows }) => subgroups === shape.splitSubgroups && leastRows <= shape.singles * numKVHeads)
      if (split !== undefined && splitGroup !== undefined) list.dispatch('attention_split', split.pipeline, splitGroup, [shape.splits, numKVHeads, shape.singles])
      // Rows of one part are finished where they are attended.
      if ((shape.splits > 1 || shape.groups > 0) && leavesParts?.(shape) !== true) list.dispatch('attention_merge', merge, mergeGroup, [numHeads, shape.singles, 1])
    }
  }
}

type GroupBindings = ReturnType<typeof attentionGroupKernel>['bindings']

/** @param groups variants by the rows that they take */
function groupRecorder (groups: ReadonlyMap<number, Pipeline<GroupBindings>>, buffers: { readonly [K in keyof GroupBindings]: GPUBuffer }, numKVHeads: number): Recorder {
  const variants = new Map(Array.from(groups, ([size, pipeline]) => [size, { pipeline, group: pipeline.bind(buffers) }]))
  return (list, shape) => {
    const variant = variants.get(shape.groupSize)
    if (variant !== undefined) list.dispatch('attention_group', variant.pipeline, variant.group, [shape.groups, numKVHeads, 1])
  }
}
