import { attentionSplit, attentionSplitKernel, attentionTileKernel } from '../kernels/attention/attention.ts'
import type { CommandList } from '../kernels/command-list.ts'
import { attentionReduce } from '../kernels/model-kernels.ts'
import type { Pipeline } from '../kernels/pipeline-cache.ts'
import type { StepShape } from '../step-inputs.ts'
import type { LayerContext } from './layer-context.ts'

/** Query rows a tile workgroup serves at most: more reuse of keys and values, until workgroup memory runs out. */
const TILE_ROWS = 16

/** Query tokens in one attention tile of a model with this many query heads per KV head. */
export function tileTokens (group: number): number {
  return Math.max(1, Math.floor(TILE_ROWS / group))
}

type SplitPipeline = Pipeline<ReturnType<typeof attentionSplitKernel>['bindings']>
type TilePipeline = Pipeline<ReturnType<typeof attentionTileKernel>['bindings']>
type ReducePipeline = Pipeline<typeof attentionReduce.bindings>

/** Attention's kernels for one model; a layer binds its KV buffer. */
export class Attention {
  readonly #context: LayerContext
  readonly #split: SplitPipeline
  readonly #tile: TilePipeline
  readonly #reduce: ReducePipeline
  readonly #reduceGroup: GPUBindGroup

  private constructor (context: LayerContext, split: SplitPipeline, tile: TilePipeline, reduce: ReducePipeline) {
    this.#context = context
    this.#split = split
    this.#tile = tile
    this.#reduce = reduce
    const { partialOut, partialMaxSum, step, attended } = context.buffers
    this.#reduceGroup = reduce.bind({ partial_out: partialOut, partial_max_sum: partialMaxSum, step, y: attended })
  }

  static async create (context: LayerContext): Promise<Attention> {
    const { config, pipelines, blockSize, device } = context
    const group = config.numHeads / config.numKVHeads
    const least = Math.ceil(config.headDim / 4 / 32) * 32
    const threads = Math.max(least, device.capabilities.software ? 64 : 128)
    const sizes = { NUM_KV_HEADS: config.numKVHeads, BLOCK_SIZE: blockSize }
    const [split, tile, reduce] = await Promise.all([
      pipelines.get(attentionSplitKernel({ headDim: config.headDim, group, queries: 1, threads }), sizes),
      pipelines.get(attentionTileKernel({ headDim: config.headDim, group, queries: tileTokens(group), threads }), sizes),
      pipelines.get(attentionReduce, { NUM_HEADS: config.numHeads, HEAD_DIM: config.headDim, SPLIT: attentionSplit })
    ])
    return new Attention(context, split, tile, reduce)
  }

  /** Binds one layer's keys and values. */
  bind (kv: GPUBuffer): (list: CommandList, shape: StepShape) => void {
    const { q, partialOut, partialMaxSum, step, attended } = this.#context.buffers
    const { numKVHeads, numHeads } = this.#context.config
    const splitGroup = this.#split.bind({ q, kv, step, partial_out: partialOut, partial_max_sum: partialMaxSum })
    const tileGroup = this.#tile.bind({ q, kv, step, y: attended })
    return (list, shape) => {
      list.dispatch('attention_tile', this.#tile, tileGroup, [numKVHeads, shape.tiles, 1])
      list.dispatch('attention_split', this.#split, splitGroup, [shape.splits, numKVHeads, shape.singles])
      list.dispatch('attention_reduce', this.#reduce, this.#reduceGroup, [numHeads, shape.singles, 1])
    }
  }
}
