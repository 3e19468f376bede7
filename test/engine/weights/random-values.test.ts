import { fillWithRandom } from '../../../packages/engine/src/weights/random-values.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'

const gpu = await GpuHarness.open()
const LENGTH = 40_000

gpuTest('random weights have the deviation asked for, are those of their seed, and fill their buffer', gpu, async (t, gpu) => {
  const filled = async (seed: number, deviation: number): Promise<Float64Array> => {
    // createStorage's sizes are whole; the harness adds a guard that a fill of the whole buffer would overwrite.
    const buffer = await gpu.device.createStorage('random', 4 * LENGTH)
    await fillWithRandom(gpu.device, buffer, 'f32', deviation, seed)
    const readable = gpu.device.device.createBuffer({ size: 4 * LENGTH, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
    const encoder = gpu.device.device.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, 0, readable, 0, 4 * LENGTH)
    gpu.device.queue.submit([encoder.finish()])
    await readable.mapAsync(GPUMapMode.READ)
    const values = Float64Array.from(new Float32Array(readable.getMappedRange()))
    for (const resource of [buffer, readable]) resource.destroy()
    return values
  }
  const first = await filled(3, 2)
  const mean = first.reduce((sum, value) => sum + value, 0) / LENGTH
  const deviation = Math.sqrt(first.reduce((sum, value) => sum + (value - mean) ** 2, 0) / LENGTH)
  // 40,000 draws: five standard errors of either.
  t.ok(Math.abs(mean) < 5 * 2 / Math.sqrt(LENGTH), `mean ${mean}`)
  t.ok(Math.abs(deviation - 2) < 5 * 2 / Math.sqrt(2 * LENGTH), `deviation ${deviation}`)
  t.ok(first.subarray(-4).some(value => value !== 0), 'to the end')
  t.strictSame(await filled(3, 2), first, 'the same seed, the same values')
  const other = await filled(4, 2)
  t.ok(other.filter((value, i) => value === first[i]).length < LENGTH / 100, 'another seed, others')
  t.strictSame(await filled(3, 1), first.map(value => value / 2), 'half the deviation, half of each')
})
