import type { Test } from 'tap'
import type { StorageType } from '../../../../packages/engine/src/engine.ts'
import { allocateExperts, expertWindows } from '../../../../packages/engine/src/weights/expert-weights.ts'
import type { ExpertWeights } from '../../../../packages/engine/src/weights/expert-weights.ts'
import { float16Bits } from '../../../reference/float16.ts'
import type { RealArray } from '../../../reference/real-array.ts'
import { POISON } from '../gpu-harness.ts'
import type { GpuHarness } from '../gpu-harness.ts'
import { inLayout } from '../weight-order.ts'

/** Experts' projections `[columns][k]` (gate and up with two of them) placed by `expertWindows`, NaN between the blocks. Freed when the test ends. */
export async function uploadExperts (t: Test, gpu: GpuHarness, projections: ReadonlyArray<readonly RealArray[]>, k: number, storage: StorageType): Promise<ExpertWeights> {
  const [gate] = projections
  const columns = (gate?.[0]?.length ?? 0) / k
  const weights = await allocateExperts(gpu.device, 'experts', { numExperts: gate?.length ?? 0, k, columns, gated: projections.length === 2, storage })
  t.teardown(() => { for (const { buffer, extent } of weights.parts) { buffer.destroy(); extent.destroy() } })
  const { queue } = gpu.device
  for (const { buffer } of weights.parts) queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(POISON))
  for (let expert = 0; expert < weights.numExperts; expert++) {
    for (const { binding, firstColumn, columns: own } of expertWindows(weights, expert)) {
      const rows = projections.flatMap(projection => [...projection[expert]?.subarray(firstColumn * k, (firstColumn + own) * k) ?? []])
      const values = inLayout(Float64Array.from(rows), k, 'interleaved')
      queue.writeBuffer(binding.buffer, binding.offset ?? 0, storage === 'f16' ? Uint16Array.from(values, float16Bits) : Float32Array.from(values))
    }
  }
  return weights
}
