import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import type { StorageType } from '../engine.ts'
import { attentionMmaRun } from '../kernels/attention/attention-mma.ts'
import { attentionMmaGroupMembers } from '../kernels/attention/attention-mma-group.ts'
import { attentionSplit } from '../kernels/attention/attention-order.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { GroupLayout } from '../single-rows.ts'
import { groupSubgroups } from './attention-plan.ts'
import type { AttentionPlan } from './attention-plan.ts'

/**
 * Fewest keys of a prefix, and of a part of it. Each of 64 rows, four subgroups full, leaves a partial result for every part, which is written
 * and read as f32: as many bytes as 128 keys have, once for each member instead of its keys.
 */
const LEAST_KEYS = 128

/** Bytes that an H100 reads while it begins another dispatch that depends on the one before: 2 us at 3 TB/s. */
const DISPATCH_BYTES = 6e6

/**
 * Bytes that single tokens read of keys that others read, too, mostly from a cache and at 5 TB/s, while a group's and a merge's dispatch begin and end: 18 us
 * (H100, docs/decisions/2026-11-26-shared-prefix-attention.md).
 */
const MATRIX_BYTES = 94e6

/** What a plan's groups ask of the packer; undefined where it has none. */
export function groupLayout (plan: AttentionPlan, config: ModelConfig, storage: StorageType, { software }: DeviceCapabilities): GroupLayout | undefined {
  const { numHeads, numKVHeads, headDim, layers } = config
  if (plan.groups.length === 0) return undefined
  const keyBytes = 2 * numKVHeads * headDim * (storage === 'f16' ? 2 : 4)
  // Rows of one part need no merge as long as they share nothing; where summation is ordered they are always merged.
  const leastSavedBytes = software ? 0 : plan.type === 'ordered' ? DISPATCH_BYTES : MATRIX_BYTES
  const shared = { leastKeys: LEAST_KEYS, leastSavedKeys: leastSavedBytes / keyBytes, windows: windowShares(layers) }
  if (plan.type === 'ordered') {
    const { queries } = plan.groups[0] ?? plan.tile
    // Rows that a group lacks are computed all the same: more than half of them are to be there.
    return { ...shared, sizes: [queries], unit: attentionSplit, leastMembers: Math.floor(queries / 2) + 1, rowsSaved: members => members - 1, partKeys: () => attentionSplit }
  }
  const subgroups = new Map(plan.groups.map(shape => [attentionMmaGroupMembers(shape), shape.subgroups]))
  const slots = groupSubgroups(headDim) / numKVHeads
  const most = Math.max(...subgroups.keys())
  const rowsSaved = (members: number): number => members - attendedTogether(members, most, numHeads / numKVHeads)
  return {
    ...shared,
    sizes: [...subgroups.keys()],
    unit: attentionMmaRun,
    leastMembers: Array.from({ length: most }, (_, i) => i + 1).find(members => rowsSaved(members) > 0) ?? Infinity,
    rowsSaved,
    partKeys: (size, prefixes) => partKeys(prefixes, Math.floor(slots / (subgroups.get(size) ?? 1)))
  }
}

/**
 * Rows that attend a key by themselves in the time in which workgroups of at most `most` rows attend it: staging a key takes as long as one row and a half
 * of up to four heads, and so does each tile of 16 pairs of a member and a head. 64 rows of 2,048 shared keys: groups of 4 and 8 rows took 38 and
 * 24 us (H100), of 16 rows 23 (H200), rows by themselves 52 to 54.
 */
function attendedTogether (members: number, most: number, group: number): number {
  const chunks = Math.max(1, Math.ceil(members / most))
  const tiles = Array.from({ length: chunks }, (_, i) => Math.ceil((Math.floor((i + 1) * members / chunks) - Math.floor(i * members / chunks)) * group / 16))
  return 6 / Math.max(4, group) * tiles.reduce((sum, count) => sum + 1 + count, 0)
}

/** The smallest parts that are no more than `most`, or whole prefixes. */
function partKeys (prefixes: readonly number[], most: number): number {
  const longest = Math.max(LEAST_KEYS, ...prefixes)
  const inRuns = (keys: number): number => Math.ceil(keys / attentionMmaRun) * attentionMmaRun
  const parts = (keys: number): number => prefixes.reduce((sum, prefix) => sum + Math.ceil(prefix / keys), 0)
  let keys = inRuns(Math.max(LEAST_KEYS, prefixes.reduce((sum, prefix) => sum + prefix, 0) / Math.max(1, most)))
  while (keys < longest && parts(keys) > most) keys += inRuns(keys / 32)
  return Math.min(keys, inRuns(longest))
}

function windowShares (layers: ModelConfig['layers']): GroupLayout['windows'] {
  const counts = new Map<number, number>()
  for (const { window = Infinity } of layers) counts.set(window, (counts.get(window) ?? 0) + 1)
  return Array.from(counts, ([window, count]) => ({ window, share: count / layers.length }))
}
