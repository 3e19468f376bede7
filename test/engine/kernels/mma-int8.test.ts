import t from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { mmaInt8, mmaInt8Bytes, mmaInt8Shapes } from '../../../packages/engine/src/kernels/matmul/mma-int8.ts'
import { mmaGridColumns, mmaGridRows } from '../../../packages/engine/src/kernels/matmul/mma-grid.ts'
import type { MmaInt8Shape } from '../../../packages/engine/src/kernels/matmul/mma-int8.ts'
import { quantizeRows } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { int8Sums } from '../../reference/int8.ts'
import { matmul } from '../../reference/matmul.ts'
import { F32_ROUNDING, assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens } from './step-records.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

const SEED = 20261127
/** The layouts in use, and one where two subgroups share K and each has several tiles. */
const shapesOf = (step: 16 | 32): MmaInt8Shape[] => [
  ...Object.values(mmaInt8Shapes(step)),
  { rowGroups: 1, columnGroups: 2, depthGroups: 2, rowTiles: 2, columnTiles: 1, depth: 128, step, subgroup: 32 }
]

t.test('every int8 kernel is valid WGSL for an adapter that has tensor cores, and fits the workgroup memory that is asked of one', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  for (const shape of [...shapesOf(16), ...shapesOf(32)]) {
    const { name, wgsl } = mmaInt8(shape)
    await assertValidWgsl(t, device, { name, wgsl })
    t.ok(mmaInt8Bytes(shape) <= 38_912, `${name}: ${mmaInt8Bytes(shape)} bytes`)
  }
})

const opened = await GpuHarness.open()
const depth = 'missing' in opened ? undefined : opened.device.capabilities.int8MatrixDepth
const gpu = 'missing' in opened || depth !== undefined ? opened : { missing: `${opened.device.report.name} has no int8 tensor-core products of 16 × 16 tiles` }
const shapes = depth === undefined ? [] : shapesOf(depth)

interface Problem {
  readonly m: number
  readonly k: number
  readonly n: number
  readonly x: Int8Array
  readonly weight: Int8Array
  readonly scaleX: Float64Array
  readonly scaleW: Float64Array
  /** Columns of a row of y, and where the weight's begin; default all and 0. */
  readonly columns?: number
  readonly first?: number
}

/** y `[m][columns]`, NaN where nothing was written. What pads rows of x to a workgroup's is 99. */
async function multiply (gpu: GpuHarness, shape: MmaInt8Shape, { m, k, n, x, weight, scaleX, scaleW, columns = n, first = 0 }: Problem): Promise<Float64Array> {
  const [rows, perWorkgroup] = [mmaGridRows(shape), mmaGridColumns(shape)]
  const padded = new Int8Array(Math.ceil(m / rows) * rows * k).fill(99)
  padded.set(x)
  const y = await gpu.poisoned(m * columns, 'f32')
  await gpu.run(mmaInt8(shape), {
    storage: 'f16',
    activation: 'f16',
    overrides: { K: k, FIRST_COLUMN: first, COLUMNS: columns, OWN_COLUMNS: n },
    buffers: {
      x: await gpu.upload(new Uint32Array(padded.buffer), 'u32'),
      weight: await gpu.upload(new Uint32Array(weight.slice().buffer), 'u32'),
      scale_x: await gpu.upload(scaleX, 'f32'),
      scale_w: await gpu.upload(scaleW, 'f32'),
      step: await gpu.step({ tokens: countedTokens(m) }),
      y
    },
    grid: [Math.ceil(m / rows), Math.ceil(n / perWorkgroup), 1]
  })
  return await gpu.download(y, m * columns, 'f32')
}

const bytes = (random: SeededRandom, length: number): Int8Array => Int8Array.from({ length }, () => random.between(-128, 127))
const ones = (length: number): Float64Array => new Float64Array(length).fill(1)

gpuTest('int8 sums are exact, at both sides of a workgroup\'s rows, columns and stages', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const shape of shapes) {
    const [rows, columns] = [mmaGridRows(shape), mmaGridColumns(shape)]
    const cases = [[1, shape.depth, columns], [rows - 1, 2 * shape.depth, columns + 1], [rows, shape.depth, columns - 1], [rows + 1, 3 * shape.depth, 2 * columns + 16]] as const
    for (const [m, k, n] of cases) {
      const problem = { m, k, n, x: bytes(random, m * k), weight: bytes(random, n * k), scaleX: ones(m), scaleW: ones(n) }
      const expected = int8Sums(problem.x, problem.weight, k)
      const y = await multiply(gpu, shape, problem)
      // An f32 holds them: none of these reaches 2²⁴.
      const wrong = y.findIndex((value, i) => value !== expected[i])
      t.equal(wrong, -1, `${mmaInt8(shape).name}, ${m} × ${n} of ${k}: ${wrong === -1 ? 'equal' : `element ${wrong} is ${y[wrong]} for ${expected[wrong]}`}`)
    }
  }
})

gpuTest('the largest sums are exact, beyond what an f32 counts to', gpu, async (t, gpu) => {
  for (const shape of shapes) {
    const [m, n, k] = [2, 17, 8192]
    // Each sum is a multiple of K, and so an f32 has it; on the way there it takes every multiple of a product.
    const x = new Int8Array(m * k).fill(127, 0, k).fill(-128, k)
    const weight = Int8Array.from({ length: n * k }, (_, i) => Math.floor(i / k) % 2 === 0 ? 127 : -128)
    const y = await multiply(gpu, shape, { m, k, n, x, weight, scaleX: ones(m), scaleW: ones(n) })
    t.strictSame([...y], [...int8Sums(x, weight, k)], mmaInt8(shape).name)
  }
})

gpuTest('each row and each column has its scale, and a part of a weight writes its own columns only', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 1)
  for (const shape of shapes) {
    const [m, k, n, first, columns] = [mmaGridRows(shape) + 3, shape.depth, 48, 16, 80]
    const problem = {
      m, k, n, first, columns, x: bytes(random, m * k), weight: bytes(random, n * k), scaleX: random.normals(m).map(Math.fround), scaleW: random.normals(n).map(Math.fround)
    }
    const sums = int8Sums(problem.x, problem.weight, k)
    const y = await multiply(gpu, shape, problem)
    const expected = sums.map((sum, i) => sum * (problem.scaleX[Math.floor(i / n)] ?? NaN) * (problem.scaleW[i % n] ?? NaN))
    const own = Float64Array.from({ length: m * n }, (_, i) => y[Math.floor(i / n) * columns + first + i % n] ?? NaN)
    // Two products round.
    assertClose(t, own, expected, i => 3 * F32_ROUNDING * Math.abs(expected[i] ?? NaN) + Number.MIN_VALUE, mmaInt8(shape).name)
    t.ok(y.every((value, i) => Number.isNaN(value) === (i % columns < first || i % columns >= first + n)), 'other columns are left alone')
  }
})

gpuTest('rows quantised on the device give the product of their bytes, which is that of the rows within the noise of quantising', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 2)
  for (const shape of shapes) {
    const [m, k, n] = [5, shape.depth * 2, 32]
    const room = Math.ceil(m / mmaGridRows(shape)) * mmaGridRows(shape)
    const [x, weight] = [random.normals(m * k).map(Math.fround), random.normals(n * k).map(Math.fround)]
    const exact = matmul(x, weight, k)
    const [ofX, ofW] = [await quantized(gpu, x, m, k, room), await quantized(gpu, weight, n, k, n)]
    const y = await gpu.poisoned(m * n, 'f32')
    await gpu.run(mmaInt8(shape), {
      storage: 'f16',
      activation: 'f16',
      overrides: { K: k, FIRST_COLUMN: 0, COLUMNS: n, OWN_COLUMNS: n },
      buffers: { x: ofX.q, weight: ofW.q, scale_x: ofX.scale, scale_w: ofW.scale, step: await gpu.step({ tokens: countedTokens(m) }), y },
      grid: [1, Math.ceil(n / mmaGridColumns(shape)), 1]
    })
    const product = await gpu.download(y, m * n, 'f32')
    const expected = int8Sums(ofX.bytes, ofW.bytes, k).map((sum, i) => sum * (ofX.scales[Math.floor(i / n)] ?? NaN) * (ofW.scales[i % n] ?? NaN))
    assertClose(t, product, expected, i => 3 * F32_ROUNDING * Math.abs(expected[i] ?? NaN) + Number.MIN_VALUE, mmaInt8(shape).name)
    // Of k normals the largest is at most 5: a step is 5/127, a factor is off by its twelfth's root, 0.0114, and the product by √2 times that.
    const noise = meanSquare(product.map((value, i) => value - (exact[i] ?? NaN)))
    t.ok(Math.sqrt(noise / k) < 0.0165, `${mmaInt8(shape).name}: ${Math.sqrt(noise / k)} of a product's deviation`)
  }
})

interface Quantized { readonly q: GPUBuffer, readonly scale: GPUBuffer, readonly bytes: Int8Array, readonly scales: Float64Array }

/** Rows as the device quantises them, in buffers with room for more. */
async function quantized (gpu: GpuHarness, values: Float64Array, rows: number, k: number, room: number): Promise<Quantized> {
  const [q, scale] = [await gpu.poisoned(room * k / 4, 'u32'), await gpu.poisoned(room, 'f32')]
  await gpu.run(quantizeRows, { storage: 'f32', activation: 'f32', overrides: { HIDDEN_SIZE: k, THREADS: 128 }, buffers: { x: await gpu.upload(values, 'f32'), step: await gpu.step({ tokens: countedTokens(rows) }), q, scale }, grid: [rows, 1, 1] })
  return { q, scale, bytes: new Int8Array((await gpu.bits(q, room * k / 4, 'u32')).buffer).subarray(0, rows * k), scales: (await gpu.download(scale, room, 'f32')).subarray(0, rows) }
}

function meanSquare (values: Float64Array): number {
  return values.reduce((sum, value) => sum + value * value, 0) / values.length
}
