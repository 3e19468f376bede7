import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import type { StorageType } from '../engine.ts'
import { UnsupportedModelError } from '../errors.ts'
import { attentionSplit } from '../kernels/attention/attention-order.ts'
import { attentionMmaRun, attentionMmaSplitBytes } from '../kernels/attention/attention-mma-split.ts'
import type { AttentionMmaSplitShape } from '../kernels/attention/attention-mma-split.ts'
import { attentionMmaTileBytes } from '../kernels/attention/attention-mma-tile.ts'
import type { AttentionMmaTileShape } from '../kernels/attention/attention-mma-tile.ts'
import { attentionSplitBytes } from '../kernels/attention/attention-split.ts'
import { attentionTileBytes } from '../kernels/attention/attention-tile.ts'
import type { AttentionTileShape } from '../kernels/attention/attention-tile.ts'
import type { ModelConfig } from '../models/model-config.ts'

/** Which kernels attend, and how a step's rows are cut for them. */
export type AttentionPlan =
  /** One order of summation, whatever the batch: attention-order.ts. */
  | { readonly type: 'ordered', readonly tile: AttentionTileShape }
  /** On tensor cores, cut as suits the batch. */
  | { readonly type: 'matrix', readonly tile: AttentionMmaTileShape, readonly split: AttentionMmaSplitShape }

/** Query rows an ordered tile serves at most: keys and values are reused by all of them. */
const TILE_ROWS = 32

/** Most subgroups of a matrix tile. */
const TILE_SUBGROUPS = 8

/**
 * Workgroups of one subgroup that run side by side; one more than fit costs as much as another round of all. Measured on an H100
 * (docs/decisions/2026-11-26-attention-on-tensor-cores.md): registers for a head of 128 halve them.
 */
function workgroupSlots (headDim: number): number {
  return headDim > 64 ? 512 : 1024
}

/** Query tokens a tile holds. */
export function tileTokens (plan: AttentionPlan): number {
  return plan.type === 'ordered' ? plan.tile.queries : 16 * plan.tile.tokenTiles
}

/** Keys that one workgroup attends for a single row, in a step of `singles` such rows of at most `longest` keys. */
export function splitKeys (plan: AttentionPlan, numKVHeads: number): (singles: number, longest: number) => number {
  if (plan.type === 'ordered') return () => attentionSplit
  const slots = workgroupSlots(plan.split.headDim)
  return (singles, longest) => {
    const splits = Math.max(1, Math.floor(slots / Math.max(1, singles * numKVHeads)))
    return attentionMmaRun * Math.max(1, Math.ceil(longest / splits / attentionMmaRun))
  }
}

/** Matrix attention wherever activations are the halves that tensor cores read and the model's heads fit its tiles. */
export function planAttention (
  config: ModelConfig,
  storage: StorageType,
  capabilities: DeviceCapabilities,
  { tensorCores, deterministic, blockSize }: { readonly tensorCores: boolean, readonly deterministic: boolean, readonly blockSize: number }
): AttentionPlan {
  const matrix = tensorCores && !deterministic && blockSize % 16 === 0 ? matrixShapes(config, capabilities) : undefined
  return matrix ?? { type: 'ordered', tile: attentionTileShape(config, storage, capabilities) }
}

function matrixShapes ({ numHeads, numKVHeads, headDim, attention }: ModelConfig, { maxWorkgroupBytes }: DeviceCapabilities): AttentionPlan | undefined {
  const group = numHeads / numKVHeads
  if (headDim % 16 !== 0 || group > TILE_SUBGROUPS) return undefined
  const shared = { headDim, group, capped: attention.softcap !== undefined, subgroup: 32 } as const
  const split = { ...shared, subgroups: 1 }
  // Many query tokens first: keys and values are staged once for all of them.
  for (let tokenTiles = Math.max(1, Math.floor(TILE_SUBGROUPS / group)); tokenTiles >= 1; tokenTiles = Math.floor(tokenTiles / 2)) {
    for (const keys of [64, 32]) {
      const tile = { ...shared, tokenTiles, keys }
      if (Math.max(attentionMmaTileBytes(tile), attentionMmaSplitBytes(split)) <= maxWorkgroupBytes) return { type: 'matrix', tile, split }
    }
  }
  return undefined
}

/** The largest ordered tile for a model that fits the adapter's workgroup memory. */
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
