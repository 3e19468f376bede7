import { attentionSplit } from '../kernels/attention/attention-order.ts'
import { attentionSplitBytes, attentionSplitKernel } from '../kernels/attention/attention-split.ts'
import { attentionTileBytes, attentionTileKernel } from '../kernels/attention/attention-tile.ts'
import type { AttentionTileShape } from '../kernels/attention/attention-tile.ts'
import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import type { StorageType } from '../engine.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { CommandList } from '../kernels/command-list.ts'
import { attentionReduce } from '../kernels/model-kernels.ts'
import type { Pipeline } from '../kernels/pipeline-cache.ts'
import type { StepShape } from '../step-inputs.ts'
import { UnsupportedModelError } from '../errors.ts'
import type { LayerContext } from './layer-context.ts'

/** Query rows a tile workgroup serves at most: keys and values are reused by all of them. */
const TILE_ROWS = 32

/** The largest attention tile for a model that fits the adapter's workgroup memory. */
export function attentionTileShape (config: ModelConfig, storage: StorageType, capabilities: DeviceCapabilities): AttentionTileShape {
  const group = config.numHeads / config.numKVHeads
  const least = Math.max(64, Math.ceil(config.headDim / 4 / 32) * 32)
  const threads = Math.max(least, capabilities.software ? 64 : 128)
  const base = { headDim: config.headDim, group, threads, capped: config.attention.softcap !== undefined, rolled: capabilities.software }
  // Many rows first, then many keys at a time; staging fewer than 64 keys leaves threads idle and is for large heads in little memory.
  for (const stagedChoices of [[128, 64], [32, 16]]) {
    for (let rows = Math.max(TILE_ROWS, group); rows >= group; rows = Math.floor(rows / 2)) {
      for (const staged of stagedChoices) {
        const shape = { ...base, queries: Math.max(1, Math.floor(rows / group)), staged }
        const bytes = Math.max(attentionTileBytes(shape, storage === 'f16' ? 2 : 4), attentionSplitBytes(shape))
        if (bytes <= capabilities.maxWorkgroupBytes) return shape
      }
    }
  }
  throw new UnsupportedModelError({ field: 'head_dim', value: config.headDim, supported: `what fits ${capabilities.maxWorkgroupBytes} bytes of workgroup memory` })
}

type SplitPipeline = Pipeline<ReturnType<typeof attentionSplitKernel>['bindings']>
type TilePipeline = Pipeline<ReturnType<typeof attentionTileKernel>['bindings']>
type ReducePipeline = Pipeline<typeof attentionReduce.bindings>

/** Attention's kernels for layers of one window; a layer binds its KV buffer. */
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

  /** @param window keys a query sees; undefined: all before it */
  static async create (context: LayerContext, window: number | undefined): Promise<Attention> {
    const { config, pipelines, blockSize, tile: tileShape } = context
    const sizes = { NUM_KV_HEADS: config.numKVHeads, BLOCK_SIZE: blockSize, WINDOW: window ?? 0, SOFTCAP: config.attention.softcap ?? 1 }
    const [split, tile, reduce] = await Promise.all([
      pipelines.get(attentionSplitKernel(tileShape), sizes),
      pipelines.get(attentionTileKernel(tileShape), sizes),
      pipelines.get(attentionReduce, { NUM_HEADS: config.numHeads, HEAD_DIM: config.headDim, SPLIT: attentionSplit, WINDOW: window ?? 0 })
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
