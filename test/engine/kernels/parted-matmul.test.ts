import t from 'tap'
import type { DeviceCapabilities } from '../../../packages/engine/src/device/device-capabilities.ts'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { fastVariants } from '../../../packages/engine/src/kernels/matmul/fast-variants.ts'
import { plainSum } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import type { MatmulVariant } from '../../../packages/engine/src/kernels/matmul/matmul-variant.ts'
import { partRows } from '../../../packages/engine/src/kernels/matmul/mma-linear.ts'
import { productVariant } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import { rowRanges } from '../../../packages/engine/src/tuning/product-candidates.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { float16Bits } from '../../reference/float16.ts'
import { assertClose } from './assert-close.ts'
import { POISON, gpuTest } from './gpu-harness.ts'
import { openMatrixGpu } from './matrix-attention.ts'
import { matmulProblem, matmulSettings } from './matmul-problem.ts'
import { countedTokens, plainLogitRow } from './step-records.ts'
import { inLayout } from './weight-order.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

const SEED = 20261128
/** Rows of the largest product in parts: two of them. */
const MOST_ROWS = partRows(2)
const capabilities: DeviceCapabilities = {
  f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 48 << 10
}
/** Output and down projections of published models, and shapes that no parts fit. */
const SHAPES = [[2048, 2048], [2048, 8192], [4096, 4096], [4096, 14_336], [896, 4864], [1024, 3072], [5120, 8192], [64, 96], [3072, 32]] as const

/** What the rules choose. */
const ruled = (columns: number, k: number): MatmulVariant[] => fastVariants(columns, k, 'residual', capabilities, { norm: 'parted' }).filter(({ parts = 1 }) => parts > 1)
/** And what tuning may. */
const parted = (columns: number, k: number): MatmulVariant[] => {
  const candidates = rowRanges(columns, true).flatMap(({ upTo, candidates }) => candidates.flatMap(kernel => productVariant({ upTo, kernel }, k, 'residual', capabilities) ?? []))
  return [...ruled(columns, k), ...candidates.filter(({ parts = 1 }) => parts > 1)]
}

t.test('only few rows of few outputs are cut into parts, and parts are whole stages of K', async t => {
  for (const [columns, k] of SHAPES) {
    for (const { kernel, parts = 1, rows, upTo } of parted(columns, k)) {
      const depth = Number(/_k(\d+)_p\d+$/.exec(kernel.name)?.[1])
      t.ok(k % (depth * parts) === 0 && upTo <= partRows(parts) && partRows(parts) % rows === 0, `${columns} × ${k}: ${kernel.name} up to ${upTo} rows`)
    }
    t.equal(fastVariants(columns, k, 'residual', capabilities).some(({ parts = 1 }) => parts > 1), false, `${columns} × ${k}: nothing is in parts where nobody adds them up`)
  }
  t.ok(ruled(2048, 8192).length >= 5 && ruled(4096, 14_336).length >= 3, 'down projections are cut')
  t.same(ruled(2048, 2048).filter(({ upTo }) => upTo > 128).map(({ upTo, parts }) => [upTo, parts]), [[256, 4], [512, 2]], 'the fewer row tiles, the more parts')
  t.same(ruled(4096, 4096).filter(({ upTo }) => upTo > 128).map(({ upTo, parts }) => [upTo, parts]), [[256, 2]], 'and none where tiles alone fill a device')
  const inLess = fastVariants(2048, 8192, 'residual', { ...capabilities, maxWorkgroupBytes: 32 << 10 }, { norm: 'parted' }).filter(({ parts = 1 }) => parts > 1)
  t.same(inLess.map(({ upTo }) => upTo).slice(0, 3), [16, 32, 64], 'with less workgroup memory by other kernels')
  t.equal(ruled(8192, 2048).length + ruled(128_256, 2048).length, 0, 'many outputs fill a device by themselves')
})

t.test('a table that ends in parts, or has more than there is room for, ends before them', async t => {
  const key = '64 x 4096 parted'
  const variants = (...kernels: ReadonlyArray<readonly [upTo: number, parts: number]>): ReadonlyArray<readonly [number, number]> => fastVariants(64, 4096, 'residual', capabilities, {
    norm: 'parted', table: { [key]: kernels.map(([upTo, parts]) => ({ upTo, kernel: ['staged', 2, 2, 1, 2, 2, 64, parts] })) }
  }).map(({ upTo, parts = 1 }) => [upTo, parts])
  t.same(variants([16, 1], [128, 8]), [[Infinity, 1]])
  t.same(variants([64, 8], [128, 16], [512, 1]), [[64, 8], [Infinity, 1]])
  t.equal(variants([128, 8]).at(-1)?.[1], 1, 'of parts alone nothing is left, and the rules decide')
})

t.test('every product in parts is valid WGSL for an adapter that has tensor cores', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  const kernels = new Map(SHAPES.flatMap(([columns, k]) => parted(columns, k).map(({ kernel }) => [kernel.name, kernel] as const)))
  for (const kernel of kernels.values()) await assertValidWgsl(t, device, kernel)
})

const gpu = await openMatrixGpu()

gpuTest('the sums of all parts of a product make up the product, and nothing is written behind them', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const [columns, k] of [[144, 2048], [144, 8192]] as const) {
    const problem = matmulProblem(random, { rows: MOST_ROWS, k, n: columns }, { epilogue: 'store' })
    const weight = await gpu.upload(inLayout(problem.weight, k, 'tiled'), 'f16')
    const halves = Uint16Array.from(problem.x, float16Bits)
    const settings = { ...matmulSettings(problem, { logitRows: false, first: 0, count: columns }), ...plainSum }
    await gpu.compile(parted(columns, k).map(({ kernel }) => [kernel, settings] as const))
    for (const { kernel, rows, columns: wide, parts = 1, upTo } of parted(columns, k)) {
      for (const m of new Set([1, rows - 1, Math.min(upTo, rows), upTo])) {
        const x = await gpu.poisoned(MOST_ROWS * k, 'f16')
        gpu.device.queue.writeBuffer(x, 0, halves, 0, m * k)
        const length = (parts * partRows(parts) + 16) * columns
        const y = await gpu.poisoned(length, 'f32')
        await gpu.run(kernel, {
          storage: 'f16',
          activation: 'f16',
          overrides: settings,
          buffers: { x, weight, bias: await gpu.upload([NaN], 'f32'), step: await gpu.step({ tokens: countedTokens(m), logitRows: [plainLogitRow] }), y },
          grid: [Math.ceil(m / rows), Math.ceil(columns / wide), parts]
        })
        const words = await gpu.bits(y, length, 'f32')
        const values = new Float32Array(words.buffer)
        const sums = Float64Array.from({ length: m * columns }, (_, i) => Array.from({ length: parts }, (_, p) => values[p * partRows(parts) * columns + i] ?? NaN).reduce((a, b) => a + b))
        assertClose(t, sums, problem.expected.subarray(0, m * columns), problem.tolerance, `${kernel.name} ${m} × ${k} × ${columns}`)
        t.equal(words.findIndex((word, i) => i >= parts * partRows(parts) * columns && word !== POISON), -1, `${kernel.name}: nothing behind`)
      }
    }
  }
})
