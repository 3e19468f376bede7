import type { StorageType } from '../../../packages/engine/src/engine.ts'
import { fmaMatmul } from '../../../packages/engine/src/kernels/matmul/fma-matmul.ts'
import { plainSum } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import type { FmaShape } from '../../../packages/engine/src/kernels/matmul/fma-matmul.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { siluGate } from '../../reference/gated-mlp.ts'
import { matmul as reference } from '../../reference/matmul.ts'
import { F16_ROUNDING, F16_SMALLEST, F32_ROUNDING, assertClose, assertSameBits } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens, plainLogitRow } from './step-records.ts'
import { inLayout } from './weight-order.ts'

const SEED = 20260703
const gpu = await GpuHarness.open()

interface Problem {
  readonly k: number
  /** Output columns; a gated weight has twice as many rows. */
  readonly n: number
  /** `[m][k]` */
  readonly x: Float64Array
  /** `[n or 2n][k]` */
  readonly weight: Float64Array
  /** What y holds before, for the residual epilogue. */
  readonly before: Float64Array
}

function problem (random: SeededRandom, m: number, k: number, n: number, { epilogue }: Pick<FmaShape, 'epilogue'>, storage: StorageType): Problem {
  return {
    k,
    n,
    x: stored(random.normals(m * k), 'f32'),
    weight: stored(random.normals((epilogue === 'silu-gate' ? 2 * n : n) * k, 1 / Math.sqrt(k)), storage),
    before: stored(random.normals(m * n), 'f32')
  }
}

interface Choice { readonly storage?: StorageType, readonly activation?: StorageType, readonly logitRows?: boolean }

/** y's buffer after one dispatch over `m` rows. */
async function multiply (gpu: GpuHarness, shape: FmaShape, { k, n, x, weight, before }: Problem, { storage = 'f32', activation = 'f32', logitRows = false }: Choice = {}): Promise<GPUBuffer> {
  const m = x.length / k
  const gated = shape.epilogue === 'silu-gate'
  const y = shape.epilogue === 'residual' ? await gpu.upload(before, 'f32') : await gpu.poisoned(m * n, gated ? activation : 'f32')
  await gpu.run(fmaMatmul(shape), {
    storage,
    activation,
    overrides: { K: k, N: gated ? 2 * n : n, FIRST_COLUMN: 0, COLUMNS: n, LOGIT_ROWS: logitRows ? 1 : 0, OWN_COLUMNS: n, ...plainSum },
    buffers: {
      x: await gpu.upload(x, 'f32'),
      weight: await gpu.upload(inLayout(weight, k, 'interleaved'), storage),
      bias: await gpu.upload([NaN], 'f32'),
      // The other count is one: a kernel that took it would leave rows unwritten.
      step: await gpu.step(logitRows ? { tokens: countedTokens(1), logitRows: new Array(m).fill(plainLogitRow) } : { tokens: countedTokens(m), logitRows: [plainLogitRow] }),
      y
    },
    grid: [Math.ceil(n / shape.columns), Math.ceil(m / shape.rows), 1]
  })
  return y
}

/** The exact result and how far f32 may stray: every fma and every sum of splits rounds once, by 2⁻²⁴ of a partial sum at most Σ|x·w|. */
function expectation ({ k, n, x, weight, before }: Problem, { epilogue, splits }: FmaShape, activation: StorageType): { values: Float64Array, tolerance: (i: number) => number } {
  const steps = (k + splits + 2) * F32_ROUNDING
  const magnitude = reference(x.map(Math.abs), weight.map(Math.abs), k)
  if (epilogue !== 'silu-gate') {
    const values = reference(x, weight, k, epilogue === 'residual' ? { residual: before } : {})
    return { values, tolerance: i => steps * (magnitude[i] ?? NaN) + 2 * F32_ROUNDING * Math.abs(epilogue === 'residual' ? before[i] ?? NaN : 0) + 1e-30 }
  }
  const m = x.length / k
  const gate = reference(x, weight.slice(0, n * k), k)
  const up = reference(x, weight.slice(n * k), k)
  const magnitudeOf = (i: number, half: number): number => magnitude[Math.floor(i / n) * 2 * n + half * n + i % n] ?? NaN
  const values = siluGate(gate, up)
  const store = activation === 'f16' ? F16_ROUNDING : 0
  return {
    values: values.subarray(0, m * n),
    // |d silu / dx| ≤ 1.1 and |silu(x)| ≤ |x|; exp is good to 3 + 2|x| ulp, the quotient to 2.5.
    tolerance: i => {
      const [g, u] = [Math.abs(gate[i] ?? NaN), Math.abs(up[i] ?? NaN)]
      return 1.1 * steps * magnitudeOf(i, 0) * u + steps * magnitudeOf(i, 1) * g + Math.abs(values[i] ?? NaN) * ((8 + 4 * g) * F32_ROUNDING + store) + F16_SMALLEST * (store > 0 ? 1 : 2 ** -20)
    }
  }
}

const rowCounts = [1, 2, 4, 8, 16] as const
const epilogues = ['store', 'residual', 'silu-gate'] as const
// K at both sides of one vector, of a split's range and of the splits' number; N at both sides of a workgroup of 32 and of 64
// columns. A shader takes seconds to compile the first time, so pairs are covered and not products: every row count meets every
// epilogue, every form meets every row count and epilogue, and each form all depths.
const depths = [4, 60, 64, 68, 384]
const widths = [1, 31, 32, 33, 63, 64, 65, 128]
const forms = [
  { splits: 1, parallelSplits: false }, { splits: 8, parallelSplits: false }, { splits: 1, parallelSplits: true }, { splits: 8, parallelSplits: true }
]

for (const [formIndex, form] of forms.entries()) {
  gpuTest(`matmul with ${form.splits} split(s) ${form.parallelSplits ? 'side by side' : 'in turn'} equals the reference for every row count`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const [rowIndex, rows] of rowCounts.entries()) {
      const turn = formIndex * rowCounts.length + rowIndex
      const epilogue = epilogues[(formIndex + rowIndex) % epilogues.length] ?? 'store'
      const columns = rows === 16 ? 64 : 32
      const shape: FmaShape = fitted({ rows, columns, ...form, epilogue }, gpu)
      const k = depths[(formIndex + 2 * rowIndex) % depths.length] ?? 4
      const n = widths[turn % widths.length] ?? 1
      const storage = turn % 2 === 0 ? 'f32' : 'f16'
      const activation = formIndex === 1 ? 'f16' : 'f32'
      // Both sides of one row tile and of two.
      for (const m of new Set([1, rows - 1, rows, rows + 1, 2 * rows + 1])) {
        if (m === 0) continue
        const given = problem(random, m, k, n, shape, storage)
        const { values, tolerance } = expectation(given, shape, activation)
        const y = await multiply(gpu, shape, given, { storage, activation })
        assertClose(t, await gpu.download(y, m * n, epilogue === 'silu-gate' ? activation : 'f32'), values, tolerance,
          `${epilogue}, ${rows} row(s), M ${m}, K ${k}, N ${n}, ${storage}, act ${activation}`)
      }
    }
  })
}

/** The shape with as many columns as workgroup memory holds the partial sums of. */
function fitted (shape: FmaShape, gpu: GpuHarness): FmaShape {
  const { rows, splits, columns, epilogue, parallelSplits } = shape
  const bytes = 4 * rows * splits * columns * (epilogue === 'silu-gate' ? 2 : 1)
  return parallelSplits && bytes > gpu.device.capabilities.maxWorkgroupBytes ? { ...shape, columns: columns / 2 } : shape
}

for (const [storage, epilogue, splits, compared] of [['f32', 'store', 8, [1, 2, 4, 8, 16]], ['f32', 'store', 1, [1, 8]], ['f32', 'silu-gate', 8, [1, 8]], ['f16', 'residual', 8, [1, 4]]] as const) {
  gpuTest(`every matmul variant with ${splits} split(s) gives the same bits: ${epilogue}, ${storage}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const given = problem(new SeededRandom(SEED), 17, 68, 33, { epilogue }, storage)
    let expected: Uint32Array | undefined
    for (const parallelSplits of [false, true]) {
      for (const rows of compared) {
        const shape = fitted({ rows, columns: rows === 16 ? 64 : 32, splits, parallelSplits, epilogue }, gpu)
        const bits = await gpu.bits(await multiply(gpu, shape, given, { storage }), 17 * 33, 'f32')
        expected ??= bits
        assertSameBits(t, bits, expected, `${rows} row(s), ${parallelSplits ? 'side by side' : 'in turn'}`)
      }
    }
  })
}

gpuTest('a row of a matmul has the same bits alone and among neighbours', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const { splits, parallelSplits } of [{ splits: 1, parallelSplits: false }, { splits: 8, parallelSplits: true }]) {
    const many: FmaShape = { rows: 8, columns: 32, splits, parallelSplits, epilogue: 'store' }
    const given = problem(random, 11, 68, 33, many, 'f32')
    const together = await gpu.bits(await multiply(gpu, many, given), 11 * 33, 'f32')
    for (const row of [0, 7, 8, 10]) {
      const alone = { ...given, x: given.x.slice(row * 68, (row + 1) * 68) }
      for (const shape of [many, { ...many, rows: 1 }]) {
        const bits = await gpu.bits(await multiply(gpu, shape, alone), 33, 'f32')
        assertSameBits(t, bits, together.subarray(row * 33, (row + 1) * 33), `row ${row}, ${shape.rows} row(s) a thread, ${splits} split(s)`)
      }
    }
  }
})

gpuTest('matmul counts logit rows when it is told to', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const shape: FmaShape = { rows: 4, columns: 32, splits: 1, parallelSplits: false, epilogue: 'store' }
  const given = problem(new SeededRandom(SEED), 5, 8, 33, shape, 'f32')
  const { values, tolerance } = expectation(given, shape, 'f32')
  assertClose(t, await gpu.download(await multiply(gpu, shape, given, { logitRows: true }), 5 * 33, 'f32'), values, tolerance, 'logit rows')
})

gpuTest('the parts of a weight split over buffers write their own columns', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const [epilogue, parallelSplits] of [['store', true], ['silu-gate', false]] as const) {
    const shape: FmaShape = { rows: 2, columns: 32, splits: 8, parallelSplits, epilogue }
    const given = problem(random, 3, 64, 38, shape, 'f32')
    const whole = await gpu.bits(await multiply(gpu, shape, given), 3 * 38, 'f32')
    const y = await gpu.poisoned(3 * 38, 'f32')
    for (const { first, count } of [{ first: 0, count: 32 }, { first: 32, count: 6 }]) {
      const rows = (from: number): Float64Array => given.weight.slice(from * 64, (from + count) * 64)
      const own = epilogue === 'store' ? rows(first) : Float64Array.from([...rows(first), ...rows(38 + first)])
      await gpu.run(fmaMatmul(shape), {
        overrides: { K: 64, N: own.length / 64, FIRST_COLUMN: first, COLUMNS: 38, LOGIT_ROWS: 0, OWN_COLUMNS: count, ...plainSum },
        buffers: { x: await gpu.upload(given.x, 'f32'), weight: await gpu.upload(inLayout(own, 64, 'interleaved'), 'f32'), bias: await gpu.upload([NaN], 'f32'), step: await gpu.step({ tokens: countedTokens(3) }), y },
        grid: [1, 2, 1]
      })
    }
    assertSameBits(t, await gpu.bits(y, 3 * 38, 'f32'), whole, `${epilogue}, ${parallelSplits ? 'side by side' : 'in turn'}`)
  }
})
