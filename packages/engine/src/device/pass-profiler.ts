import type { KernelTime } from '../engine.ts'
import type { CommandList } from '../kernels/command-list.ts'
import type { GpuDevice } from './gpu-device.ts'

/**
 * Device time of a recorded list by label, slowest first. WebGPU has timestamps only at the ends of a pass, so every dispatch gets
 * a pass of its own: what kernels overlap in a real step is lost, and each pays a pass' fixed cost.
 */
export async function profileList (gpu: GpuDevice, list: CommandList): Promise<KernelTime[]> {
  const { device, queue } = gpu
  const perBatch = 2048
  const times = new Map<string, { dispatches: number, seconds: number }>()
  for (let first = 0; first < list.length; first += perBatch) {
    const batch = list.dispatches.slice(first, first + perBatch)
    const queries = device.createQuerySet({ type: 'timestamp', count: 2 * batch.length })
    const bytes = 16 * batch.length
    const resolved = device.createBuffer({ size: bytes, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC })
    const readable = device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
    const encoder = device.createCommandEncoder()
    batch.forEach((dispatch, i) => {
      const pass = encoder.beginComputePass({ timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 } })
      pass.setPipeline(dispatch.pipeline)
      pass.setBindGroup(0, dispatch.bindGroup)
      pass.dispatchWorkgroups(...dispatch.grid)
      pass.end()
    })
    encoder.resolveQuerySet(queries, 0, 2 * batch.length, resolved, 0)
    encoder.copyBufferToBuffer(resolved, 0, readable, 0, bytes)
    queue.submit([encoder.finish()])
    await readable.mapAsync(GPUMapMode.READ)
    const stamps = new BigUint64Array(readable.getMappedRange())
    batch.forEach(({ label }, i) => {
      const time = times.get(label) ?? { dispatches: 0, seconds: 0 }
      time.dispatches++
      time.seconds += Number((stamps[2 * i + 1] ?? 0n) - (stamps[2 * i] ?? 0n)) / 1e9
      times.set(label, time)
    })
    for (const resource of [queries, resolved, readable]) resource.destroy()
  }
  return [...times].map(([label, time]) => ({ label, ...time })).sort((a, b) => b.seconds - a.seconds)
}
