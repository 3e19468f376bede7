import t from 'tap'
import type { Test } from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import type { Kernel, Bindings } from '../../../packages/engine/src/kernels/define-kernel.ts'
import { deferredRows, fitsBehindNorm, rowScalesLength, rowSquaresLength } from '../../../packages/engine/src/kernels/matmul/deferred-norm.ts'
import { beforeNormGrid, mmaBeforeNorm } from '../../../packages/engine/src/kernels/matmul/mma-before-norm.ts'
import type { BeforeNormGrid } from '../../../packages/engine/src/kernels/matmul/mma-before-norm.ts'
import { mmaGridColumns, mmaGridName, mmaGridRows } from '../../../packages/engine/src/kernels/matmul/mma-grid.ts'
import { mmaLinearBehindNorm, mmaLinearColumns } from '../../../packages/engine/src/kernels/matmul/mma-linear.ts'
import { mmaRotaryBehindNorm, mmaRotaryBytes, mmaRotaryGrid } from '../../../packages/engine/src/kernels/matmul/mma-rotary.ts'
import { mmaGrid, mmaLinearShape, productVariant } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import type { MatrixKernel, ProductKernel } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import type { Epilogue } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import { knownAdapters } from '../../../packages/engine/src/tuning/known-adapters.ts'
import { knownProducts } from '../../../packages/engine/src/tuning/known-products.ts'
import { rowRanges } from '../../../packages/engine/src/tuning/product-candidates.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { float16Bits, stored } from '../../reference/float16.ts'
import { F16_ROUNDING, F16_SMALLEST, assertClose } from './assert-close.ts'
import { gpuTest } from './gpu-harness.ts'
import type { GpuHarness } from './gpu-harness.ts'
import { openMatrixGpu } from './matrix-attention.ts'
import { matmulProblem, matmulSettings } from './matmul-problem.ts'
import type { Finish, MatmulProblem } from './matmul-problem.ts'
import { rotaryHeads, rotaryScene } from './rotary-scene.ts'
import { countedTokens, plainLogitRow } from './step-records.ts'
import { inLayout } from './weight-order.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

const SEED = 20261129
const EPS = 1e-5
const LIMITS = { maxWorkgroupBytes: 48 << 10, maxWorkgroupThreads: 1024 }
const [K, N] = [1024, 144]
/** Of which a row's squares are 21 and 64 vectors: lanes have several, and the last are not all there. */
const OTHER_K = [1344, 4096]
/** A scale that the rows had at the norm before: they have grown since, some much. */
const before = (row: number): number => 0.25 * 2 ** (row % 9 - 4)

function some<T> (value: T | undefined): T {
  if (value === undefined) throw new RangeError('there is none')
  return value
}

const isMatrix = (kernel: ProductKernel): kernel is MatrixKernel => kernel[0] !== 'vector'
/** Grids that tuning may choose, or has, for so few rows; K in whole stages of any. */
const tried: readonly ProductKernel[] = [
  ...rowRanges(4096, true).filter(({ upTo }) => upTo <= deferredRows).flatMap(({ candidates }) => candidates),
  ...knownAdapters.flatMap(({ adapter: name }) => Object.values(knownProducts({ name })).flatMap(choices => choices.filter(({ upTo }) => upTo <= deferredRows).map(({ kernel }) => kernel)))
]
const kernels: readonly MatrixKernel[] = [...new Map(tried.filter(isMatrix).filter(kernel => (kernel[7] ?? 1) === 1).map(kernel => [kernel.join(), kernel])).values()]
const beforeGrids: readonly BeforeNormGrid[] = kernels.flatMap(kernel => beforeNormGrid(kernel, LIMITS) ?? [])
const rotaryGrids = [...new Map(kernels.map(kernel => mmaRotaryGrid(mmaGrid(kernel))).filter(grid => fitsBehindNorm(grid, K) && mmaRotaryBytes(grid) + 4 * mmaGridRows(grid) <= LIMITS.maxWorkgroupBytes).map(grid => [mmaGridName(grid), grid])).values()]
const behindShapes = (epilogue: Epilogue) => kernels.filter(kernel => productVariant({ upTo: deferredRows, kernel }, 8192, epilogue, LIMITS) !== undefined).map(kernel => mmaLinearShape(kernel, epilogue)).filter(shape => fitsBehindNorm(shape, K))

t.test('every product before and behind a deferred norm is valid WGSL for an adapter that has tensor cores', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  const all: ReadonlyArray<Kernel<Bindings, string>> = [
    ...beforeGrids.map(mmaBeforeNorm),
    // 16 vectors of four column tiles, of which some lanes have none, or several; and of a number that lanes do not divide.
    ...[1024, 4096, 1344].flatMap(k => rotaryGrids.map(grid => mmaRotaryBehindNorm(grid, k))),
    ...(['store', 'silu-gate', 'gelu-gate'] as const).flatMap(epilogue => behindShapes(epilogue).map(shape => mmaLinearBehindNorm(shape, K)))
  ]
  t.ok(all.length > 60, `${all.length} kernels`)
  for (const kernel of all) await assertValidWgsl(t, device, kernel)
})

const gpu = await openMatrixGpu()

gpuTest('a product before a deferred norm adds to the residual stream, and leaves it times the norm\'s weight, and its squares', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const [k, n] = [K, N]
  const tried = beforeGrids.filter(({ depth }) => k % depth === 0)
  await gpu.compile(tried.flatMap(grid => [0, 1].map(WHICH => [mmaBeforeNorm(grid), { K: k, OWN_COLUMNS: n, WHICH }] as const)))
  const problem = matmulProblem(random, { rows: deferredRows + 1, k, n }, { epilogue: 'residual' })
  const norm = stored(random.normals(n), 'f32')
  const [weight, normWeight] = [await gpu.upload(inLayout(problem.weight, k, 'tiled'), 'f16'), await gpu.upload(norm, 'f32')]
  const halves = Uint16Array.from(problem.x, float16Bits)
  for (const grid of tried) {
    const rows = mmaGridRows(grid)
    for (const [which, m] of [[0, 1], [1, rows - 1], [1, rows], [0, Math.min(rows + 1, deferredRows)]] as const) {
      const padded = Math.ceil(m / rows) * rows
      const x = await gpu.poisoned(padded * k, 'f16')
      gpu.device.queue.writeBuffer(x, 0, halves, 0, m * k)
      const y = await gpu.poisoned(padded * n, 'f32')
      gpu.device.queue.writeBuffer(y, 0, Float32Array.from(problem.before.subarray(0, m * n)))
      const normed = await gpu.poisoned(padded * n, 'f16')
      const squaresOf = await gpu.poisoned(rowSquaresLength(n), 'f32')
      await gpu.run(mmaBeforeNorm(grid), {
        storage: 'f16',
        activation: 'f16',
        overrides: { K: k, OWN_COLUMNS: n, WHICH: which },
        buffers: { x, weight, norm: normWeight, step: await gpu.step({ tokens: countedTokens(m), logitRows: [plainLogitRow] }), y, row_scales: await scalesOf(gpu, 1 - which, m), normed, row_squares: squaresOf },
        grid: [padded / rows, Math.ceil(n / mmaGridColumns(grid)), 1]
      })
      const name = `${mmaGridName(grid)}, ${m} rows`
      const values = await gpu.download(y, m * n, 'f32')
      assertClose(t, values, problem.expected.subarray(0, m * n), problem.tolerance, `residual stream, ${name}`)
      // From the stream as the kernel left it: three f32 products round before the one to f16.
      const left = values.map((value, i) => value * (norm[i % n] ?? NaN) * before(Math.floor(i / n)) / 16)
      assertClose(t, await gpu.download(normed, m * n, 'f16'), left, i => Math.abs(left[i] ?? NaN) * 1.01 * F16_ROUNDING + F16_SMALLEST, `what the next product reads, ${name}`)
      // Sixteen squares, rounded and added: 2⁻²⁰ of their sum at most.
      const squares = Float64Array.from({ length: m * n / 16 }, (_, i) => values.subarray(i * 16, i * 16 + 16).reduce((sum, value) => sum + value * value, 0))
      assertClose(t, await gpu.download(squaresOf, squares.length, 'f32'), squares, i => (squares[i] ?? NaN) * 2 ** -20, `squares, ${name}`)
    }
  }
})

/** The scales that rows had at a norm; all else is NaN. */
async function scalesOf (gpu: GpuHarness, which: number, rows: number): Promise<GPUBuffer> {
  const buffer = await gpu.poisoned(rowScalesLength, 'f32')
  gpu.device.queue.writeBuffer(buffer, which * deferredRows * 4, Float32Array.from({ length: rows }, (_, row) => before(row)))
  return buffer
}

/** Rows as a product before a norm leaves them, and what they are behind it. */
interface LeftRows { readonly halves: Uint16Array<ArrayBuffer>, readonly squares: Float64Array, readonly normalised: Float64Array, readonly inverses: Float64Array }

/** As many as there may be. */
function leftRows (random: SeededRandom, k: number): LeftRows {
  const left = stored(random.normals(deferredRows * k, 1 / 16).map((value, i) => value * before(Math.floor(i / k))), 'f16')
  // Of what the norm's weight has multiplied squares say nothing: any will do.
  const squares = stored(random.normals(deferredRows * k / 16).map(value => 16 * value * value), 'f32')
  const inverses = Float64Array.from({ length: deferredRows }, (_, row) => 1 / Math.sqrt(squares.subarray(row * k / 16, (row + 1) * k / 16).reduce((sum, value) => sum + value, 0) / k + EPS))
  return { halves: Uint16Array.from(left, float16Bits), squares, normalised: left.map((value, i) => value * (inverses[Math.floor(i / k)] ?? NaN) / before(Math.floor(i / k)) * 16), inverses }
}

interface UnscaledRows { readonly x: GPUBuffer, readonly row_squares: GPUBuffer, readonly row_scales: GPUBuffer, readonly inverses: Float64Array }

/** The first of them on the device; all else is NaN. */
async function unscaledRows (gpu: GpuHarness, { halves, squares, inverses }: LeftRows, { rows, k, padded, which }: { readonly rows: number, readonly k: number, readonly padded: number, readonly which: number }): Promise<UnscaledRows> {
  const x = await gpu.poisoned(padded * k, 'f16')
  gpu.device.queue.writeBuffer(x, 0, halves, 0, rows * k)
  const squaresOf = await gpu.poisoned(rowSquaresLength(k), 'f32')
  gpu.device.queue.writeBuffer(squaresOf, 0, Float32Array.from(squares.subarray(0, rows * k / 16)))
  return { x, row_squares: squaresOf, row_scales: await scalesOf(gpu, 1 - which, rows), inverses: inverses.subarray(0, rows) }
}

/** The sum of squares rounds as often as the product, and its root and the row's factor a few times: as for norms inside of products (fast-matmul). */
const roundingsOf = (k: number): number => k / 8 + 72

/** Which norm, and numbers of rows on both sides of a workgroup's, each with each in turn. */
function turnOf (i: number, rows: number): { readonly which: number, readonly m: number, readonly padded: number } {
  const m = Math.min(deferredRows, [1, rows - 1, rows, rows + 1][i % 4] ?? rows)
  return { which: Math.floor(i / 4) % 2, m, padded: Math.ceil(m / rows) * rows }
}

/** Rows that pad a workgroup's may be anything; the other norm's scales, and all behind, are as they were. */
async function checkInverses (t: Test, gpu: GpuHarness, { row_scales: scales, inverses }: UnscaledRows, which: number, padded: number, name: string): Promise<void> {
  const words = await gpu.download(scales, rowScalesLength, 'f32')
  t.ok(words.slice(which * deferredRows + padded, (which + 1) * deferredRows).every(Number.isNaN), `no scale of a row that there is not, ${name}`)
  t.ok(words.slice((1 - which) * deferredRows, (2 - which) * deferredRows).every((word, row) => row < inverses.length ? word === before(row) : Number.isNaN(word)), `the other norm's are left alone, ${name}`)
  // At most 256 sums of squares are added, 2⁻¹⁶ of them, which the root halves; inverseSqrt is good to 2 ulp.
  assertClose(t, words.slice(which * deferredRows, which * deferredRows + inverses.length), inverses, i => (inverses[i] ?? NaN) * 2 ** -16, `what the next norm reads, ${name}`)
}

const finishes: ReadonlyArray<readonly [epilogue: Epilogue, finish: Finish]> = [['store', { BIAS: 1, SCALE: 1, SOFTCAP: 0 }], ['silu-gate', { BIAS: 1, SCALE: 1, SOFTCAP: 0 }], ['gelu-gate', { BIAS: 0, SCALE: 1, SOFTCAP: 0 }]]

for (const [epilogue, finish] of finishes) {
  gpuTest(`a product behind a deferred norm is that of normalised rows: ${epilogue}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED + 1)
    const [k, n] = [K, N]
    const type = epilogue === 'store' ? 'f32' : 'f16'
    const shapes = behindShapes(epilogue).filter(({ depth }) => k % depth === 0)
    const settingsOf = (k: number) => ({ ...matmulSettings({ k, n, epilogue, finish }, { logitRows: false, first: 0, count: n }), EPS })
    const cases = [...shapes.map(shape => ({ shape, k })), ...behindShapes(epilogue).flatMap(shape => OTHER_K.filter(k => k % shape.depth === 0 && fitsBehindNorm(shape, k)).slice(0, 1).map(k => ({ shape, k }))).slice(0, epilogue === 'store' ? 16 : 2)]
    await gpu.compile(cases.map(({ shape, k }, i) => [mmaLinearBehindNorm(shape, k), { ...settingsOf(k), WHICH: turnOf(i, 1).which }] as const))
    const placed = new Map<number, { readonly rows: LeftRows, readonly problem: MatmulProblem, readonly weight: GPUBuffer, readonly bias: GPUBuffer }>()
    for (const size of new Set(cases.map(({ k }) => k))) {
      const rows = leftRows(random, size)
      const problem = matmulProblem(random, { rows: deferredRows, k: size, n }, { epilogue, finish, x: rows.normalised, roundings: roundingsOf(size) })
      placed.set(size, { rows, problem, weight: await gpu.upload(inLayout(problem.weight, size, 'tiled'), 'f16'), bias: await gpu.upload(finish.BIAS === 1 ? problem.bias : [NaN], 'f32') })
    }
    for (const [i, { shape, k }] of cases.entries()) {
      const rows = mmaGridRows(shape)
      const { which, m, padded } = turnOf(i, rows)
      const { rows: left, problem, weight, bias } = some(placed.get(k))
      const rowsLeft = await unscaledRows(gpu, left, { rows: m, k, padded, which })
      const y = await gpu.poisoned(padded * n, type)
      await gpu.run(mmaLinearBehindNorm(shape, k), {
        storage: 'f16',
        activation: 'f16',
        overrides: { ...settingsOf(k), WHICH: which },
        buffers: {
          x: rowsLeft.x,
          weight,
          bias,
          step: await gpu.step({ tokens: countedTokens(m), logitRows: [plainLogitRow] }),
          y,
          row_squares: rowsLeft.row_squares,
          row_scales: rowsLeft.row_scales
        },
        grid: [padded / rows, Math.ceil(n / mmaLinearColumns(shape)), 1]
      })
      const name = `${mmaGridName(shape)}, ${m} rows, K ${k}`
      assertClose(t, await gpu.download(y, m * n, type), problem.expected.subarray(0, m * n), problem.tolerance, name)
      await checkInverses(t, gpu, rowsLeft, which, padded, name)
    }
  })
}

gpuTest('queries, keys and values behind a deferred norm are those of normalised rows', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 2)
  const grids = rotaryGrids.filter(({ depth }) => K % depth === 0)
  const rowsOf = new Map([K / 2, K].map(k => [k, leftRows(random, k)]))
  // One stage or two: the reference of all grids with many takes minutes.
  const kOf = ({ depth }: BeforeNormGrid): number => depth > K / 4 ? K : K / 2
  const scenes = await Promise.all(rotaryHeads.map(heads => rotaryScene(gpu, random, heads, { k: K / 2, count: 1 })))
  await gpu.compile(grids.map((grid, i) => [mmaRotaryBehindNorm(grid, kOf(grid)), { ...some(scenes[i % scenes.length]).overrides, K: kOf(grid), EPS, WHICH: turnOf(i, 1).which }] as const))
  for (const [i, grid] of grids.entries()) {
    const heads = some(rotaryHeads[i % rotaryHeads.length])
    const k = kOf(grid)
    const left = some(rowsOf.get(k))
    const rows = mmaGridRows(grid)
    const { which, m, padded } = turnOf(i, rows)
    const rowsLeft = await unscaledRows(gpu, left, { rows: m, k, padded, which })
    const scene = await rotaryScene(gpu, random, heads, { k, count: m, x: left.normalised.subarray(0, m * k), roundings: roundingsOf(k) })
    await gpu.run(mmaRotaryBehindNorm(grid, k), {
      storage: 'f16',
      activation: 'f16',
      overrides: { ...scene.overrides, EPS, WHICH: which },
      buffers: { ...scene.buffers, x: rowsLeft.x, row_squares: rowsLeft.row_squares, row_scales: rowsLeft.row_scales },
      grid: [padded / rows, Math.ceil(scene.width / mmaGridColumns(grid)), 1]
    })
    const name = `${mmaGridName(grid)}, ${m} rows`
    await scene.check(t, name)
    await checkInverses(t, gpu, rowsLeft, which, padded, name)
  }
})
