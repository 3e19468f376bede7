import type { DeviceCapabilities } from '../../../packages/engine/src/device/device-capabilities.ts'
import { planAttention } from '../../../packages/engine/src/layers/attention-plan.ts'
import type { AttentionPlan } from '../../../packages/engine/src/layers/attention-plan.ts'
import { namedShape } from '../../../packages/engine/src/models/named-shapes.ts'
import { float16Bits } from '../../reference/float16.ts'
import { pagedKVStart, slotOf } from '../../reference/paged-kv.ts'
import { F16_ROUNDING, F16_SMALLEST } from './assert-close.ts'
import { expected, withMagnitudes } from './attention-scene.ts'
import type { AttendingModel, Chunk, Scene } from './attention-scene.ts'
import { GpuHarness } from './gpu-harness.ts'
import type { MissingGpu } from './gpu-harness.ts'

/** Finite, as whatever a slot held before: only its weight keeps it out. */
export const GARBAGE = 60_000

export type MatrixPlan = Extract<AttentionPlan, { type: 'matrix' }>

/** With memory for every plan. */
export const largeAdapter: DeviceCapabilities = {
  f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 48 << 10
}

export function planFor ({ headDim, group, numKVHeads, softcap }: AttendingModel, capabilities: DeviceCapabilities): AttentionPlan {
  const shape = namedShape('daybreak-mini')
  const config = { ...shape, headDim, numHeads: group * numKVHeads, numKVHeads, attention: { ...shape.attention, softcap } }
  return planAttention(config, 'f16', capabilities, { tensorCores: true, deterministic: false, blockSize: 16 })
}

/** @throws Error for a model that this adapter does not attend on tensor cores */
export function matrixPlan (model: AttendingModel, gpu: GpuHarness): MatrixPlan {
  const plan = planFor(model, gpu.device.capabilities)
  if (plan.type !== 'matrix') throw new Error(`heads of ${model.headDim}, ${model.group} on a KV head, are not attended on tensor cores`)
  return plan
}

/** A device with tensor cores; for others the answer says what they lack. */
export async function openMatrixGpu (): Promise<GpuHarness | MissingGpu> {
  const opened = await GpuHarness.open()
  return 'missing' in opened || (opened.device.capabilities.subgroupMatrix && opened.device.report.subgroupMaxSize === 32)
    ? opened
    : { missing: `${opened.device.report.name} has no 16 × 16 × 16 tensor-core products by subgroups of 32` }
}

/** Overrides of the kernels. */
export const settings = ({ model, shape }: Scene): { NUM_KV_HEADS: number, BLOCK_SIZE: number, WINDOW: number, SOFTCAP: number } => ({ NUM_KV_HEADS: model.numKVHeads, BLOCK_SIZE: shape.blockSize, WINDOW: model.window ?? 0, SOFTCAP: model.softcap ?? 1 })

/** Queries as f16, followed by as many NaN as a kernel reads past the last: what it computes of them must reach nobody. */
export async function uploadQueries (gpu: GpuHarness, queries: Float64Array, padding: number): Promise<GPUBuffer> {
  const q = await gpu.poisoned(queries.length + padding, 'f16')
  gpu.device.queue.writeBuffer(q, 0, Uint16Array.from(queries, float16Bits))
  return q
}

/**
 * How far an output may stray. Weights are stored as f16, once rounded, 2⁻¹¹ of each, while their sum is not: at most that share of
 * Σ weight · |value| / Σ weight. Those below f16's normal numbers lose 2⁻²⁵, beside a sum of at least one. A score is off by 2⁻²² of
 * |q| · |k| for each sixteen of the head's dimension, tanh by 10⁻⁵ and exp by 2⁻¹⁷ where it matters; a weight is off by as large a
 * share, above and below the line. Outputs are stored as f16.
 */
export function tolerance (scene: Scene, queries: Float64Array, chunks: readonly Chunk[], reference: Float64Array): (i: number) => number {
  const { headDim, softcap = 0 } = scene.model
  const magnitudes = expected(withMagnitudes(scene), queries, chunks)
  const longestKey = longestKeyOf(scene)
  const keys = Math.max(...scene.lengths)
  return i => {
    const query = queries.subarray(i - i % headDim, i - i % headDim + headDim)
    const score = (headDim / 16 + 3) * 2 ** -22 * Math.hypot(...query) * longestKey + 1e-5 * softcap
    const share = F16_ROUNDING + 2 * (score + 2 ** -17) + (keys / 16 + 8) * 2 ** -22
    return (magnitudes[i] ?? NaN) * share + Math.abs(reference[i] ?? NaN) * F16_ROUNDING + keys * 2 ** -25 * 6 + F16_SMALLEST
  }
}

function longestKeyOf ({ cache, shape, tables, lengths }: Scene): number {
  let longest = 0
  lengths.forEach((length, sequence) => {
    for (let position = 0; position < length; position++) {
      for (let head = 0; head < shape.numKVHeads; head++) {
        const from = pagedKVStart(shape, slotOf(tables[sequence] ?? [], position, shape.blockSize), 'key', head)
        longest = Math.max(longest, Math.hypot(...cache.subarray(from, from + shape.headDim)))
      }
    }
  })
  return longest
}
