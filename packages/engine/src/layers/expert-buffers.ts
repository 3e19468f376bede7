import type { StorageAllocator } from '../device/storage-allocator.ts'
import type { StorageType } from '../engine.ts'
import { checkExpertConfig } from '../kernels/experts/expert-config.ts'
import type { ExpertConfig } from '../kernels/experts/expert-config.ts'
import { expertVariants, maxExpertTiles } from '../kernels/experts/expert-variants.ts'

/** What a mixture of experts writes on its way; one set, reused by every layer and step. T tokens, k experts a token. */
export interface ExpertBuffers {
  /** `[T][experts]` f32. */
  readonly logits: GPUBuffer
  /** `[T][k]` u32, the experts of a token, the most likely first. */
  readonly chosen: GPUBuffer
  /** `[T][k]` f32, their weights. */
  readonly share: GPUBuffer
  /** `[T · k]` u32, token · k + slot, sorted by expert. */
  readonly pairs: GPUBuffer
  /** Their number, then tiles of pairs of one expert, four u32 each. */
  readonly tiles: GPUBuffer
  /** `[T · k][intermediate]` act. */
  readonly gated: GPUBuffer
  /** `[T · k][hidden]` f32. */
  readonly outputs: GPUBuffer
}

/**
 * The largest is `outputs` or `gated`, each one binding: on adapters with small bindings they limit `maxBatchedTokens`.
 * @throws UnsupportedModelError; OutOfDeviceMemoryError, also when a buffer is larger than one binding may be
 */
export async function createExpertBuffers (device: StorageAllocator, config: ExpertConfig, maxBatchedTokens: number, activation: StorageType): Promise<ExpertBuffers> {
  checkExpertConfig(config)
  const pairs = maxBatchedTokens * config.expertsPerToken
  const tiles = Math.max(...expertVariants(config, device).map(({ rows }) => maxExpertTiles(maxBatchedTokens, rows, config)))
  const create = (label: string, bytes: number): Promise<GPUBuffer> => device.createStorage(label, bytes)
  return {
    logits: await create('router logits', 4 * maxBatchedTokens * config.numExperts),
    chosen: await create('chosen experts', 4 * pairs),
    share: await create('expert shares', 4 * pairs),
    pairs: await create('expert pairs', 4 * pairs),
    tiles: await create('expert tiles', 16 * (1 + tiles)),
    gated: await create('expert gated', (activation === 'f16' ? 2 : 4) * pairs * config.intermediateSize),
    outputs: await create('expert outputs', 4 * pairs * config.hiddenSize)
  }
}
