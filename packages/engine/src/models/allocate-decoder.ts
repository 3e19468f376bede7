import type { StorageAllocator } from '../device/storage-allocator.ts'
import type { EnginePlan } from '../engine-plan.ts'
import { allocateExperts } from '../weights/expert-weights.ts'
import { allocateLinear } from '../weights/linear-weight.ts'
import type { TensorSpec } from './decoder-tensors.ts'
import type { WeightMaker } from './make-decoder.ts'

/** Makes weights that are not written yet, in the buffers that loaded ones have. */
export function decoderAllocator (device: StorageAllocator, { storage, layout }: Pick<EnginePlan, 'storage' | 'layout'>): WeightMaker {
  return {
    async linear (label, specs, gated) {
      return await allocateLinear(device, label, { rows: sum(specs.map(rowsOf)), k: specs[0]?.shape[1] ?? 0, gated, storage, layout })
    },
    async experts (label, experts, gated) {
      const [columns = 0, k = 0] = experts[0]?.[0]?.shape ?? []
      return await allocateExperts(device, label, { numExperts: experts.length, k, columns, gated, storage })
    },
    async values (label, _kind, specs) {
      return await device.createStorage(label, 4 * sum(specs.map(spec => rowsOf(spec) * (spec.shape[1] ?? 1))))
    }
  }
}

function rowsOf ({ shape, rows }: TensorSpec): number {
  return rows?.count ?? shape[0] ?? 1
}

function sum (numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
