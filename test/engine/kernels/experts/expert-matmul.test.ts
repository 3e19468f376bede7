import type { Test } from 'tap'
import type { StorageType } from '../../../../packages/engine/src/engine.ts'
import { expertMatmul } from '../../../../packages/engine/src/kernels/experts/expert-matmul.ts'
import type { ExpertMatmulShape } from '../../../../packages/engine/src/kernels/experts/expert-matmul.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { gates } from '../../../reference/expert-mlp.ts'
import { stored } from '../../../reference/float16.ts'
import { matmul } from '../../../reference/matmul.ts'
import { F16_ROUNDING, F16_SMALLEST, F32_ROUNDING, assertClose, assertSameBits } from '../assert-close.ts'
import { GpuHarness, gpuTest } from '../gpu-harness.ts'
import { groupedPairs, tileWords } from './grouped-pairs.ts'
import { uploadExperts } from './upload-experts.ts'

const SEED = 20261124
const whole = await GpuHarness.open()
// Two experts of 33 × 36 f32 fit, or 16 gated columns of one of 132 × 36.
const split = await GpuHarness.open({ maxBindingBytes: 10_240 })

interface Problem {
  readonly k: number
  /** Output columns. */
  readonly n: number
  /** `[rows][k]` */
  readonly x: Float64Array
  /** By projection (gate, up; or one) and expert, `[n][k]`. */
  readonly projections: readonly Float64Array[][]
  /** Expert of every pair. */
  readonly chosen: readonly number[]
  readonly pairsPerRow: number
  readonly storage: StorageType
  readonly activation: StorageType
}

/** `counts[e]` pairs for expert e, in a random order. */
function problem (random: SeededRandom, counts: readonly number[], { epilogue }: Pick<ExpertMatmulShape, 'epilogue'>, given: Omit<Problem, 'x' | 'projections' | 'chosen'>): Problem {
  const { k, n, pairsPerRow, storage, activation } = given
  const chosen = random.shuffled(counts.flatMap((count, expert) => new Array<number>(count).fill(expert)))
  return {
    ...given,
    chosen,
    x: stored(random.normals(Math.ceil(chosen.length / pairsPerRow) * k), activation),
    projections: Array.from({ length: epilogue === 'store' ? 1 : 2 }, () => counts.map(() => stored(random.normals(n * k, 1 / Math.sqrt(k)), storage)))
  }
}

/** y's buffer after a dispatch for each part of the weight. */
async function multiply (t: Test, gpu: GpuHarness, shape: ExpertMatmulShape, { k, n, x, projections, chosen, pairsPerRow, storage, activation }: Problem): Promise<GPUBuffer> {
  const weights = await uploadExperts(t, gpu, projections, k, storage)
  const { pairs, tiles } = groupedPairs(chosen, weights.numExperts, shape.rows)
  const buffers = {
    x: await gpu.upload(x, activation),
    pairs: await gpu.upload(pairs, 'u32'),
    tiles: await gpu.upload(tileWords(tiles), 'u32'),
    y: await gpu.poisoned(chosen.length * n, shape.epilogue === 'store' ? 'f32' : activation)
  }
  for (const { buffer, extent, columns } of weights.parts) {
    await gpu.run(expertMatmul(shape), {
      storage,
      activation,
      overrides: { K: k, COLUMNS: n, PAIRS_PER_ROW: pairsPerRow },
      buffers: { ...buffers, weight: buffer, part: extent },
      grid: [Math.ceil(columns / shape.columns), tiles.length + 2, 1]
    })
  }
  return buffers.y
}

/** The exact result and how far f32 may stray, as in fma-matmul.test.ts. */
function expectation ({ k, n, x, projections, chosen, pairsPerRow, activation }: Problem, { epilogue, splits }: ExpertMatmulShape): { values: Float64Array, tolerance: Float64Array } {
  const steps = (k + splits + 2) * F32_ROUNDING
  const store = activation === 'f16' ? F16_ROUNDING : 0
  const values = new Float64Array(chosen.length * n)
  const tolerance = new Float64Array(chosen.length * n)
  for (const [pair, expert] of chosen.entries()) {
    const row = x.subarray(Math.floor(pair / pairsPerRow) * k, (Math.floor(pair / pairsPerRow) + 1) * k)
    const [first, second] = projections.map(experts => {
      const weight = experts[expert] ?? new Float64Array(0)
      return { sums: matmul(row, weight, k), magnitudes: matmul(row.map(Math.abs), weight.map(Math.abs), k) }
    })
    if (first === undefined) throw new Error('a problem has a projection')
    const own = second === undefined || epilogue === 'store' ? first.sums : gates[epilogue === 'silu-gate' ? 'silu' : 'gelu-tanh'](first.sums, second.sums)
    values.set(own, pair * n)
    tolerance.set(own.map((value, i) => {
      const magnitude = first.magnitudes[i] ?? NaN
      if (second === undefined) return steps * magnitude + 1e-30
      const [g, u] = [Math.abs(first.sums[i] ?? NaN), Math.abs(second.sums[i] ?? NaN)]
      // Both slopes are at most 1.13 and both values at most |x|; exp of 1.6·(x + 0.045·x³) is good to 3 + 2|…| ulp.
      return 1.13 * steps * magnitude * u + steps * (second.magnitudes[i] ?? NaN) * g + Math.abs(value) * ((12 + 8 * g + g ** 3) * F32_ROUNDING + store) + F16_SMALLEST * (store > 0 ? 1 : 2 ** -20)
    }), pair * n)
  }
  return { values, tolerance }
}

// K at both sides of one vector and of a split's range, N at both sides of a workgroup's columns; every form meets every epilogue.
const cases: Array<{ readonly shape: ExpertMatmulShape } & Pick<Problem, 'k' | 'n' | 'pairsPerRow' | 'storage' | 'activation'>> = [
  { shape: { rows: 1, columns: 32, splits: 1, parallelSplits: false, epilogue: 'silu-gate' }, k: 64, n: 33, pairsPerRow: 2, storage: 'f32', activation: 'f32' },
  { shape: { rows: 4, columns: 32, splits: 1, parallelSplits: false, epilogue: 'store' }, k: 36, n: 132, pairsPerRow: 1, storage: 'f16', activation: 'f32' },
  { shape: { rows: 1, columns: 32, splits: 8, parallelSplits: true, epilogue: 'store' }, k: 68, n: 31, pairsPerRow: 1, storage: 'f16', activation: 'f16' },
  { shape: { rows: 4, columns: 32, splits: 8, parallelSplits: true, epilogue: 'gelu-tanh-gate' }, k: 132, n: 65, pairsPerRow: 4, storage: 'f32', activation: 'f32' },
  { shape: { rows: 8, columns: 32, splits: 2, parallelSplits: true, epilogue: 'silu-gate' }, k: 4, n: 64, pairsPerRow: 8, storage: 'f16', activation: 'f16' },
  { shape: { rows: 16, columns: 64, splits: 8, parallelSplits: false, epilogue: 'silu-gate' }, k: 384, n: 65, pairsPerRow: 3, storage: 'f32', activation: 'f32' }
]

for (const { shape, ...given } of cases) {
  const { rows, splits, parallelSplits, epilogue } = shape
  gpuTest(`expert matmul equals the reference: ${epilogue}, tiles of ${rows}, ${splits} split(s) ${parallelSplits ? 'side by side' : 'in turn'}, ${given.storage}, act ${given.activation}`, whole, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    // Experts without pairs at both ends and in between, and both sides of one tile and of two.
    const counts = [0, rows - 1, rows, 0, rows + 1, 1, 2 * rows + 1, 0]
    const problems = [problem(new SeededRandom(SEED), counts, shape, given), problem(new SeededRandom(SEED), [0, 0, 1], shape, given)]
    for (const one of problems) {
      const { values, tolerance } = expectation(one, shape)
      const y = await multiply(t, gpu, shape, one)
      assertClose(t, await gpu.download(y, values.length, epilogue === 'store' ? 'f32' : given.activation), values, i => tolerance[i] ?? NaN, `${one.chosen.length} pairs`)
    }
  })
}

for (const [how, k, n, epilogue] of [['by experts', 36, 33, 'store'], ['by columns of one expert', 36, 132, 'silu-gate']] as const) {
  gpuTest(`expert matmul gives the same bits in every variant, and with the weight split ${how}`, split, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const given = problem(new SeededRandom(SEED), [3, 0, 5, 9, 2], { epilogue }, { k, n, pairsPerRow: 2, storage: 'f32', activation: 'f32' })
    const serial = { rows: 1, columns: 32, splits: 3, parallelSplits: false, epilogue }
    if ('missing' in whole) throw new Error(whole.missing)
    const expected = await whole.bits(await multiply(t, whole, serial, given), given.chosen.length * n, 'f32')
    whole.free()
    for (const shape of [serial, { ...serial, rows: 2, parallelSplits: true }, { ...serial, rows: 8, columns: 64 }]) {
      assertSameBits(t, await gpu.bits(await multiply(t, gpu, shape, given), expected.length, 'f32'), expected, `tiles of ${shape.rows}`)
    }
  })
}

gpuTest('a gated product too large for f16 becomes its largest number, not infinity', whole, async (t, gpu) => {
  const shape = { rows: 1, columns: 32, splits: 1, parallelSplits: false, epilogue: 'silu-gate' } as const
  const gate = Float64Array.from([256, 0, 0, 0, 256, 0, 0, 0, 1, 0, 0, 0])
  const up = Float64Array.from([256, 0, 0, 0, -256, 0, 0, 0, 1, 0, 0, 0])
  const y = await multiply(t, gpu, shape, { k: 4, n: 3, x: Float64Array.from([64, 0, 0, 0]), projections: [[gate], [up]], chosen: [0], pairsPerRow: 1, storage: 'f16', activation: 'f16' })
  t.strictSame([...await gpu.download(y, 3, 'f16')], [65_504, -65_504, 4096])
})

gpuTest('a row of an expert matmul has the same bits alone and in a tile', whole, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const shape = { rows: 4, columns: 32, splits: 1, parallelSplits: false, epilogue: 'store' } as const
  const given = problem(new SeededRandom(SEED), [5, 2], shape, { k: 36, n: 33, pairsPerRow: 1, storage: 'f32', activation: 'f32' })
  const all = await gpu.bits(await multiply(t, gpu, shape, given), 7 * 33, 'f32')
  for (const [pair, expert] of given.chosen.entries()) {
    const alone = await multiply(t, gpu, shape, { ...given, chosen: [expert], x: given.x.slice(pair * 36, (pair + 1) * 36) })
    assertSameBits(t, await gpu.bits(alone, 33, 'f32'), all.subarray(pair * 33, (pair + 1) * 33), `pair ${pair}`)
  }
})
