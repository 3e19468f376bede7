import type { GpuDevice } from '../device/gpu-device.ts'
import { profileList } from '../device/pass-profiler.ts'
import { UnsupportedModelError } from '../errors.ts'
import { medianOf } from '../device/pass-timer.ts'
import { trivialDispatches } from './trivial-kernel.ts'

const PASSES = 512
/** A GPU's clocks take a while to rise. */
const WAKE_MS = 200

/**
 * Seconds that a dispatch in a pass of its own is charged beside its work, as `profileList` times it: the median of many that do
 * nothing. What starting any dispatch takes is part of it.
 * @throws UnsupportedModelError where the adapter has no timestamps
 */
export async function measurePassSeconds (gpu: GpuDevice): Promise<number> {
  const { timestamps, software } = gpu.capabilities
  if (!timestamps) throw new UnsupportedModelError({ field: 'profile', value: true, supported: 'adapters with timestamp queries' })
  const { list, destroy } = await trivialDispatches(gpu, PASSES)
  try {
    const until = software ? 0 : performance.now() + WAKE_MS
    // The first may include the driver's compiler.
    let times = await profileList(gpu, list)
    do times = await profileList(gpu, list)
    while (performance.now() < until)
    return medianOf(times.map(({ seconds }) => seconds))
  } finally {
    destroy()
  }
}
