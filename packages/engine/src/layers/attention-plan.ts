import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import type { StorageType } from '../engine.ts'
import { UnsupportedModelError } from '../errors.ts'
import { attentionSplit } from '../kernels/attention/attention-order.ts'
import { attentionGroupBytes } from '../kernels/attention/attention-group.ts'
import { attentionMmaRun } from '../kernels/attention/attention-mma.ts'
import { attentionMmaGroupBytes, attentionMmaGroupLoads } from '../kernels/attention/attention-mma-group.ts'
import type { AttentionMmaGroupShape } from '../kernels/attention/attention-mma-group.ts'
import { attentionMmaTileBytes } from '../kernels/attention/attention-mma-tile.ts'
import type { AttentionMmaTileShape } from '../kernels/attention/attention-mma-tile.ts'
import { attentionSplitBytes } from '../kernels/attention/attention-split.ts'
import type { AttentionTileShape } from '../kernels/attention/attention-rows.ts'
import { attentionTileBytes } from '../kernels/attention/attention-tile.ts'
import { attentionVectorBytes, attentionVectorRun } from '../kernels/attention/attention-vector.ts'
import type { AttentionVectorShape } from '../kernels/attention/attention-vector.ts'
import { mostMergedParts } from '../kernels/matmul/gemv-merged.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { Split } from '../single-rows.ts'

/** Which kernels attend, and how a step's rows are cut for them. `groups`: for rows that begin alike, variants by how many of them they take, ascending. */
export type AttentionPlan =
  /** One order of summation, whatever the batch: attention-order.ts. */
  | { readonly type: 'ordered', readonly tile: AttentionTileShape, readonly groups: readonly AttentionTileShape[] }
  /** Whatever is fastest, cut as suits the batch: tensor cores where there are many queries, several subgroups a workgroup where there is one (`splits`, ascending). */
  | { readonly type: 'matrix', readonly tile: AttentionMmaTileShape, readonly splits: readonly SplitShape[], readonly groups: readonly AttentionMmaGroupShape[] }

/** A kernel for single tokens; of two with as many subgroups the later one is for at least `leastRows` pairs of a token and a KV head. */
export interface SplitShape extends AttentionVectorShape { readonly leastRows?: number }

/** Query rows an ordered tile serves at most: keys and values are reused by all of them. */
const TILE_ROWS = 32

/** Most subgroups of a matrix tile. */
const TILE_SUBGROUPS = 8

/** Query rows that an ordered group has room for: fewer than a tile, since those that it lacks are computed all the same. */
const GROUP_ROWS = 16

/** Subgroups of a matrix group, each for 16 pairs of a member and a query head. */
const GROUP_SUBGROUPS = [1, 2, 4]

/** Vectors of keys, and as many of values, that a thread of a matrix group holds while 64 keys are multiplied: 64 registers. With more it stages 32 keys. */
const GROUP_LOADS = 8

/** Subgroups that a single token's workgroup may have. */
const SPLIT_SUBGROUPS = [1, 2, 4, 8]

/**
 * Rows from which on two workgroups of the most subgroups have to fit a processor side by side. With eight loads of keys and of values under way each subgroup's registers leave room for
 * one; four loads are 14.5 us instead of 19.3 for 256 rows of 576 keys, and four subgroups of eight loads 16.5 (H200, llama-3.2-1b).
 */
const CROWDED_ROWS = 129
const CROWDED_LOADS = 4

/** Subgroups over all single tokens that fill a device, some fifteen for each of its processors; measured on an H200 (docs/decisions/2026-11-26-attention-of-single-tokens.md). */
const FULL_SUBGROUPS = 2048

/** Keys that a subgroup attends before another split, whose merge is one more dispatch, would be faster. */
const OWN_KEYS = 192

/**
 * Subgroups of groups that are worth having side by side. On an H200 four prefixes of 2,048 keys took 23 us in 256 workgroups of four, and 29 in twice
 * as many of half the keys (docs/decisions/2026-11-26-shared-prefix-attention.md).
 */
export function groupSubgroups (headDim: number): number {
  return headDim > 64 ? 512 : 1024
}

/** Query tokens a tile holds. */
export function tileTokens (plan: AttentionPlan): number {
  return plan.type === 'ordered' ? plan.tile.queries : 16 * plan.tile.tokenTiles
}

/** How a step cuts the keys of `singles` rows of at most `longest` keys that they do not share. */
export function chooseSplit (plan: AttentionPlan, numKVHeads: number): (singles: number, longest: number) => Split {
  if (plan.type === 'ordered') return () => ({ keys: attentionSplit, subgroups: 1 })
  const most = plan.splits.at(-1)?.subgroups ?? 1
  const mayCrowd = plan.splits.some(({ leastRows = 0, subgroups }) => leastRows > 0 && subgroups === most)
  const run = attentionVectorRun(plan.tile)
  // Subgroups that have work in 32 keys.
  const atOnce = attentionMmaRun / run
  return (singles, longest) => {
    const rows = Math.max(1, singles) * numKVHeads
    const runs = Math.max(1, Math.ceil(longest / attentionMmaRun))
    // The projection behind a lone row merges its parts, if they are few: a subgroup for what it attends at a time, as many as a workgroup may have.
    const parts = Math.max(1, Math.ceil(longest / (most * run)))
    if (singles === 1 && parts <= mostMergedParts) {
      const keys = attentionMmaRun * Math.ceil(runs / parts)
      return { keys, subgroups: Math.min(most, 2 ** Math.ceil(Math.log2(keys / run))) }
    }
    const each = Math.max(1, Math.floor(FULL_SUBGROUPS / rows))
    // A few rows are cut into many workgroups, which have a processor each, and a subgroup for what it attends at a time.
    const alone = rows < 64
    const few = alone && runs <= 32
    // Where fewer subgroups would not split the keys either, or rows alone fill the device.
    const crowds = mayCrowd && each >= most && (longest <= OWN_KEYS * most / 2 || rows * most >= FULL_SUBGROUPS * 7 / 8)
    const wanted = alone ? (few ? atOnce : 4) : Math.min(each, rows < CROWDED_ROWS || crowds ? 8 : 4)
    const subgroups = Math.min(most, powerOfTwo(Math.min(wanted, few ? runs * atOnce : runs)))
    const splits = !alone && longest <= OWN_KEYS * subgroups ? 1 : Math.min(Math.ceil((few ? runs * atOnce : runs) / subgroups), Math.max(1, Math.floor(each / subgroups)))
    return { keys: attentionMmaRun * Math.ceil(runs / splits), subgroups }
  }
}

/** The largest power of two that is not larger. */
function powerOfTwo (count: number): number {
  return 2 ** Math.floor(Math.log2(count))
}

/** Matrix attention wherever activations are the halves that tensor cores read and the model's heads fit its tiles. */
export function planAttention (
  config: ModelConfig,
  storage: StorageType,
  capabilities: DeviceCapabilities,
  { tensorCores, deterministic, blockSize }: { readonly tensorCores: boolean, readonly deterministic: boolean, readonly blockSize: number }
): AttentionPlan {
  const matrix = tensorCores && !deterministic && blockSize % 16 === 0 ? matrixShapes(config, capabilities) : undefined
  return matrix ?? orderedShapes(config, storage, capabilities)
}

function orderedShapes (config: ModelConfig, storage: StorageType, capabilities: DeviceCapabilities): AttentionPlan {
  const tile = attentionTileShape(config, storage, capabilities)
  const group = { ...tile, queries: Math.min(tile.queries, Math.floor(GROUP_ROWS / tile.group)) }
  const fits = group.queries > 1 && attentionGroupBytes(group, storage === 'f16' ? 2 : 4) <= capabilities.maxWorkgroupBytes
  return { type: 'ordered', tile, groups: fits ? [group] : [] }
}

function matrixShapes ({ numHeads, numKVHeads, headDim, attention }: ModelConfig, { maxWorkgroupBytes }: DeviceCapabilities): AttentionPlan | undefined {
  const group = numHeads / numKVHeads
  if (headDim % 16 !== 0 || headDim > 256 || group > TILE_SUBGROUPS) return undefined
  const shared = { headDim, group, capped: attention.softcap !== undefined, subgroup: 32 } as const
  const fitting = SPLIT_SUBGROUPS.map((subgroups): SplitShape => ({ ...shared, subgroups })).filter(shape => attentionVectorBytes(shape) <= maxWorkgroupBytes)
  const most = fitting.at(-1)
  const crowded = most === undefined ? undefined : { ...most, loads: CROWDED_LOADS, leastRows: CROWDED_ROWS }
  const splits = most === undefined || crowded === undefined || attentionVectorRun(crowded) === attentionVectorRun(most) ? fitting : [...fitting, crowded]
  const groups = GROUP_SUBGROUPS.flatMap(subgroups => {
    // Half as many stages are faster, if they find room.
    const long: AttentionMmaGroupShape = { ...shared, subgroups, keys: 64 }
    const shapes = [...attentionMmaGroupLoads(long) <= GROUP_LOADS ? [long] : [], { ...long, keys: 32 }]
    return shapes.filter(shape => attentionMmaGroupBytes(shape) <= maxWorkgroupBytes).slice(0, 1)
  })
  // Many query tokens first: keys and values are staged once for all of them.
  for (let tokenTiles = Math.max(1, Math.floor(TILE_SUBGROUPS / group)); tokenTiles >= 1; tokenTiles = Math.floor(tokenTiles / 2)) {
    for (const keys of [64, 32]) {
      const tile = { ...shared, tokenTiles, keys }
      if (splits.length > 0 && attentionMmaTileBytes(tile) <= maxWorkgroupBytes) return { type: 'matrix', tile, splits, groups }
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
