import { ReadbackRing } from '../../../packages/engine/src/device/readback.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'

const gpu = await GpuHarness.open()

/** Copies the start of `source` and submits, as a step does. */
function copy (gpu: GpuHarness, source: GPUBuffer, target: GPUBuffer, bytes: number): void {
  const encoder = gpu.device.device.createCommandEncoder()
  encoder.copyBufferToBuffer(source, 0, target, 0, bytes)
  gpu.device.queue.submit([encoder.finish()])
}

function taken (ring: ReadbackRing): GPUBuffer {
  const buffer = ring.take()
  if (buffer === undefined) throw new Error('the ring is empty')
  return buffer
}

gpuTest('the ring lends its depth, refuses one more, and lends again what was read', gpu, async (t, gpu) => {
  const ring = new ReadbackRing(gpu.device.device, 64, 3)
  const lent = [taken(ring), taken(ring), taken(ring)]
  t.equal(ring.take(), undefined)
  t.equal(new Set(lent).size, 3, 'three different buffers')
  const source = await gpu.upload([1, 2, 3, 4], 'u32')
  for (const buffer of lent.slice(0, 1)) {
    copy(gpu, source, buffer, 16)
    t.strictSame([...new Uint32Array(await ring.read(buffer, 16))], [1, 2, 3, 4])
  }
  t.equal(ring.take(), lent[0])
  t.equal(ring.take(), undefined)
})

gpuTest('results read in any order are each their own, and outlive the buffer\'s next use', gpu, async (t, gpu) => {
  const ring = new ReadbackRing(gpu.device.device, 64, 2)
  const [first, second] = [taken(ring), taken(ring)]
  copy(gpu, await gpu.upload([10, 11], 'u32'), first, 8)
  copy(gpu, await gpu.upload([20, 21], 'u32'), second, 8)
  const readSecond = ring.read(second, 8)
  const results = await Promise.all([ring.read(first, 8), readSecond])
  const again = taken(ring)
  copy(gpu, await gpu.upload([30, 31], 'u32'), again, 8)
  const third = await ring.read(again, 8)
  t.strictSame([...results, third].map(data => [...new Uint32Array(data)]), [[10, 11], [20, 21], [30, 31]])
})

gpuTest('a length that is no multiple of 8 bytes is rounded up, within the buffer', gpu, async (t, gpu) => {
  const ring = new ReadbackRing(gpu.device.device, 40, 1)
  const source = await gpu.upload([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 'u32')
  for (const [asked, got] of [[12, 16], [16, 16], [0, 0], [40, 40]] as const) {
    const buffer = taken(ring)
    copy(gpu, source, buffer, 40)
    t.equal((await ring.read(buffer, asked)).byteLength, got)
  }
})
