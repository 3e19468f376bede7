import type { GpuDevice } from '../device/gpu-device.ts'
import { medianOf } from '../device/pass-timer.ts'
import type { CommandList } from '../kernels/command-list.ts'

const TIMES = 9

/**
 * Seconds that this thread takes to encode a list and hand it in, the median of several. The device computes one step while the next is encoded, so steps come no faster than
 * that; and some hosts take 10 us a dispatch.
 */
export async function encodingSeconds ({ device, queue }: Pick<GpuDevice, 'device' | 'queue'>, list: CommandList): Promise<number> {
  const seconds: number[] = []
  for (let i = 0; i < TIMES; i++) {
    const begun = performance.now()
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    list.replay(pass)
    pass.end()
    queue.submit([encoder.finish()])
    seconds.push((performance.now() - begun) / 1000)
    await queue.onSubmittedWorkDone()
  }
  return medianOf(seconds)
}
