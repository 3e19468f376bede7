import { Checkpoint } from '../../../packages/engine/src/weights/checkpoint.ts'
import { plainTensor } from '../../../packages/engine/src/weights/plain-tensor.ts'
import type { WeightTensor } from '../../../packages/engine/src/weights/weight-tensor.ts'
import { WeightUploader } from '../../../packages/engine/src/weights/weight-uploader.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { bfloat16Bits, float16Bits, stored } from '../../reference/float16.ts'
import type { StorageType } from '../../reference/float16.ts'
import { writeSafetensors } from '../weights/write-safetensors.ts'
import type { WrittenTensor } from '../weights/write-safetensors.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { inLayout } from './weight-order.ts'

const SEED = 20260707
const whole = await GpuHarness.open()
// 4 KiB hold 16 rows of 64 f32: every tensor below spans several bindings.
const split = await GpuHarness.open({ maxBindingBytes: 4096 })

function written (values: Float64Array, shape: readonly number[], dtype: WrittenTensor['dtype']): WrittenTensor {
  const data = dtype === 'F32' ? Float32Array.from(values) : Uint16Array.from(values, dtype === 'F16' ? float16Bits : bfloat16Bits)
  return { dtype, shape, bytes: new Uint8Array(data.buffer) }
}

const storedAs = { F32: 'f32', F16: 'f16', BF16: 'bf16' } as const satisfies Partial<Record<WrittenTensor['dtype'], StorageType>>

function tensorOf (checkpoint: Checkpoint, name: string): WeightTensor {
  const tensor = checkpoint.tensors.get(name)
  if (tensor === undefined) throw new Error(`there is no tensor ${name}`)
  return plainTensor(tensor)
}

for (const [how, gpu] of [['in one buffer', whole], ['split over several', split]] as const) {
  for (const storage of ['f32', 'f16'] as const) {
    for (const layout of ['interleaved', 'tiled'] as const) {
      gpuTest(`stacked tensors arrive as ${storage}, ${layout}, ${how}`, gpu, async (t, gpu) => {
        t.comment(`seed ${SEED}`)
        const random = new SeededRandom(SEED)
        const k = layout === 'tiled' ? 48 : 36
        const tensors = ([['q', 40, 'F32'], ['k', 8, 'F16'], ['v', 9, 'BF16']] as const).map(([name, rows, dtype]) =>
          ({ name, rows, dtype, values: stored(random.normals(rows * k), storedAs[dtype]) }))
        const directory = t.testdir({ 'model.safetensors': Buffer.from(writeSafetensors(Object.fromEntries(tensors.map(({ name, rows, dtype, values }) => [name, written(values, [rows, k], dtype)])))) })
        await using checkpoint = await Checkpoint.open(directory)
        let uploaded = 0
        const uploader = new WeightUploader(gpu.device, gpu.pipelines(storage, 'f32'), storage, layout, bytes => { uploaded += bytes })
        const weight = await uploader.upload('qkv', tensors.map(({ name }) => tensorOf(checkpoint, name)), false)
        await uploader.finish()
        const rows = Float64Array.from(tensors.flatMap(({ values }) => [...stored(values, storage)]))
        t.strictSame([weight.k, weight.columns, weight.gated, weight.layout], [k, 57, false, layout])
        t.equal(uploaded, 40 * k * 4 + 17 * k * 2, 'every byte of the file is reported')
        t.equal(weight.parts.length > 1, gpu === split)
        let next = 0
        for (const { buffer, firstColumn, columns } of weight.parts) {
          t.equal(firstColumn, next, 'parts follow one another')
          next += columns
          t.ok(gpu === whole || buffer.size <= 4096, 'no part is larger than a binding')
          const expected = inLayout(rows.slice(firstColumn * k, (firstColumn + columns) * k), k, layout)
          t.strictSame(await contents(gpu, buffer, expected.length, storage), expected, `rows from ${firstColumn}`)
        }
        t.equal(next, 57, 'parts hold every row')
      })
    }
  }

  gpuTest(`gate and up rows of the same outputs share a part, ${how}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const k = 32
    const [gate, up] = [stored(random.normals(40 * k), 'f32'), stored(random.normals(40 * k), 'f32')]
    const directory = t.testdir({ 'model.safetensors': Buffer.from(writeSafetensors({ gate: written(gate, [40, k], 'F32'), up: written(up, [40, k], 'F32') })) })
    await using checkpoint = await Checkpoint.open(directory)
    const uploader = new WeightUploader(gpu.device, gpu.pipelines('f32', 'f32'), 'f32', 'interleaved', () => {})
    const weight = await uploader.upload('gate up', [tensorOf(checkpoint, 'gate'), tensorOf(checkpoint, 'up')], true)
    await uploader.finish()
    t.strictSame([weight.columns, weight.gated, weight.parts.map(part => part.columns)], [40, true, gpu === split ? [16, 16, 8] : [40]])
    for (const { buffer, firstColumn, columns } of weight.parts) {
      const rows = (tensor: Float64Array): number[] => [...tensor.subarray(firstColumn * k, (firstColumn + columns) * k)]
      const expected = inLayout(Float64Array.from([...rows(gate), ...rows(up)]), k, 'interleaved')
      t.strictSame(await contents(gpu, buffer, expected.length, 'f32'), expected, `outputs from ${firstColumn}`)
    }
  })
}

gpuTest('more pieces than there are staging slots, and a vector, arrive whole', whole, async (t, gpu) => {
  // A row of 1 MiB: eight rows fill a slot, 41 rows need six pieces through three slots.
  const k = 262_144
  const tall = Float64Array.from({ length: 41 * k }, (_, i) => Math.floor(i / k) * 1000 + i % 977)
  const norm = stored(new SeededRandom(SEED).normals(12), 'bf16')
  const directory = t.testdir({ 'model.safetensors': Buffer.from(writeSafetensors({ tall: written(tall, [41, k], 'F32'), norm: written(norm, [12], 'BF16') })) })
  await using checkpoint = await Checkpoint.open(directory)
  const uploader = new WeightUploader(gpu.device, gpu.pipelines('f32', 'f32'), 'f32', 'interleaved', () => {})
  const vector = await uploader.uploadValues('norm', [tensorOf(checkpoint, 'norm')])
  const weight = await uploader.upload('tall', [tensorOf(checkpoint, 'tall')], false)
  await uploader.finish()
  t.strictSame(await contents(gpu, vector, 12, 'f32'), norm)
  const [part] = weight.parts
  if (part === undefined) throw new Error('the weight has no part')
  const arrived = await contents(gpu, part.buffer, 41 * k, 'f32')
  const wrong = arrived.findIndex((value, i) => {
    const [vectorIndex, column] = [Math.floor(i / 4), i % 4]
    return value !== tall[vectorIndex % 41 * k + Math.floor(vectorIndex / 41) * 4 + column]
  })
  t.equal(wrong, -1, 'every element is in its place')
})

gpuTest('bf16 becomes f16 on the device: every pattern as the reference rounds it, in either layout', whole, async (t, gpu) => {
  // All bf16 patterns but those finite ones that f16 cannot hold, 16 times 4,096 and the rest repeated.
  const patterns = Uint16Array.from({ length: 65_536 }, (_, bits) => (bits & 0x7fff) >= 0x4780 && (bits & 0x7fff) < 0x7f80 ? 0x3f80 : bits)
  const values = Float64Array.from(patterns, bits => new Float32Array(Uint32Array.of(bits << 16).buffer)[0] ?? NaN)
  const directory = t.testdir({ 'model.safetensors': Buffer.from(writeSafetensors({ all: { dtype: 'BF16', shape: [256, 256], bytes: new Uint8Array(patterns.buffer) } })) })
  await using checkpoint = await Checkpoint.open(directory)
  for (const layout of ['interleaved', 'tiled'] as const) {
    const uploader = new WeightUploader(gpu.device, gpu.pipelines('f16', 'f32'), 'f16', layout, () => {})
    const weight = await uploader.upload('all', [tensorOf(checkpoint, 'all')], false)
    await uploader.finish()
    const [part] = weight.parts
    if (part === undefined) throw new Error('the weight has no part')
    const expected = inLayout(stored(values, 'f16'), 256, layout)
    const arrived = await contents(gpu, part.buffer, 65_536, 'f16')
    t.equal(arrived.findIndex((value, i) => !Object.is(value, expected[i])), -1, layout)
  }
})

gpuTest('a bf16 value beyond f16 fails the loading with the tensor\'s name and their number', whole, async (t, gpu) => {
  const good = written(new Float64Array(4 * 32).fill(65_280), [4, 32], 'BF16')
  const bad = written(Float64Array.from({ length: 4 * 32 }, (_, i) => i % 40 === 7 ? 1e5 : 1), [4, 32], 'BF16')
  const directory = t.testdir({ 'model.safetensors': Buffer.from(writeSafetensors({ good, bad })) })
  await using checkpoint = await Checkpoint.open(directory)
  const uploader = new WeightUploader(gpu.device, gpu.pipelines('f16', 'f32'), 'f16', 'interleaved', () => {})
  await uploader.upload('good', [tensorOf(checkpoint, 'good')], false)
  await uploader.upload('bad', [tensorOf(checkpoint, 'bad')], false)
  await t.rejects(uploader.finish(), { code: 'ENGINE_WEIGHT_RANGE', details: { tensor: 'bad', from: 'BF16', to: 'f16', numOverflowed: 4, numValues: 128 } })
})

/** Elements of a buffer that the harness did not make: it has no guard. */
async function contents (gpu: GpuHarness, buffer: GPUBuffer, length: number, storage: 'f32' | 'f16'): Promise<Float64Array> {
  const copy = await gpu.poisoned(length, storage)
  const encoder = gpu.device.device.createCommandEncoder()
  encoder.copyBufferToBuffer(buffer, 0, copy, 0, Math.ceil(length * (storage === 'f16' ? 2 : 4) / 4) * 4)
  gpu.device.queue.submit([encoder.finish()])
  buffer.destroy()
  return gpu.download(copy, length, storage)
}
