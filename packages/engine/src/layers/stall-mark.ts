import type { GpuDevice } from '../device/gpu-device.ts'

/** Where 8 bytes lie of which the first 4 are not zero once a wait of a whole layer was given up. */
export interface StallMark { readonly buffer: GPUBuffer, readonly offset: number }

/** True when a wait was given up in what has been submitted so far. */
export async function isStalled ({ device, queue }: Pick<GpuDevice, 'device' | 'queue'>, { buffer, offset }: StallMark): Promise<boolean> {
  const mark = device.createBuffer({ label: 'stalled', size: 8, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const encoder = device.createCommandEncoder()
  encoder.copyBufferToBuffer(buffer, offset, mark, 0, 8)
  queue.submit([encoder.finish()])
  await mark.mapAsync(GPUMapMode.READ)
  const [stalled = 1] = new Uint32Array(mark.getMappedRange())
  mark.destroy()
  return stalled !== 0
}
