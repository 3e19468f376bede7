import { UploadRing } from '../../../packages/engine/src/device/upload-ring.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'

const gpu = await GpuHarness.open()
const SIZE = 4096

async function aRing (gpu: GpuHarness, count: number): Promise<UploadRing> {
  const ring = await UploadRing.allocate(gpu.device.device, SIZE, count)
  if (ring === undefined) throw new Error('no memory')
  return ring
}

function taken (ring: UploadRing): GPUBuffer {
  const buffer = ring.take()
  if (buffer === undefined) throw new Error('none is mapped')
  return buffer
}

/** Fills an upload buffer with `value` and submits its copy to `offset` of `target`. */
function upload (gpu: GpuHarness, ring: UploadRing, value: number, target: GPUBuffer, offset: number): void {
  const buffer = taken(ring)
  new Uint32Array(buffer.getMappedRange()).fill(value)
  buffer.unmap()
  const encoder = gpu.device.device.createCommandEncoder()
  encoder.copyBufferToBuffer(buffer, 0, target, offset, SIZE)
  gpu.device.queue.submit([encoder.finish()])
  ring.giveBack(buffer)
}

gpuTest('all buffers can be taken at once, and none more until one is back and the device has done with it', gpu, async (t, gpu) => {
  const ring = await aRing(gpu, 3)
  t.equal(ring.bytes, 3 * SIZE)
  const target = await gpu.poisoned(SIZE / 4, 'u32')
  const first = taken(ring)
  t.not(taken(ring), first)
  upload(gpu, ring, 1, target, 0)
  t.equal(ring.take(), undefined)
  await ring.next()
  t.equal(taken(ring).size, SIZE)
  t.equal(ring.take(), undefined)
})

gpuTest('more uploads than there are buffers all arrive, each as it was written', gpu, async (t, gpu) => {
  const values = Array.from({ length: 9 }, (_, i) => i + 1)
  for (const count of [1, 2, 8, 9, 10]) {
    const ring = await aRing(gpu, count)
    const target = await gpu.poisoned(values.length * SIZE / 4, 'u32')
    for (const [i, value] of values.entries()) {
      await ring.next()
      upload(gpu, ring, value, target, i * SIZE)
    }
    const words = await gpu.bits(target, values.length * SIZE / 4, 'u32')
    t.strictSame(values.filter((value, i) => words.slice(i * SIZE / 4, (i + 1) * SIZE / 4).some(word => word !== value)), [], `${count} buffers`)
  }
})

gpuTest('whoever waits for a buffer of a device that has gone is told, instead of waiting on', gpu, async t => {
  const opened = await GpuHarness.open()
  if ('missing' in opened) throw new Error(opened.missing)
  const ring = await aRing(opened, 1)
  opened.device.device.destroy()
  await t.rejects(ring.next(), { message: /gone/ })
})
