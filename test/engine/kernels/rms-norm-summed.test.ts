import { rmsNormSummed } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { rmsNorm as reference } from '../../reference/rms-norm.ts'
import { F32_ROUNDING, assertClose, assertSameBits } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens, plainLogitRow } from './step-records.ts'

const SEED = 20261127
const EPS = 1e-5
const [ROWS, PART_ROWS] = [5, 8]
const opened = await GpuHarness.open()

interface Case { readonly x: Float64Array, readonly sums: Float64Array, readonly weight: Float64Array, readonly parts: number, readonly threads: number, readonly rows?: readonly number[] }

/** The buffers after the kernel has run for all rows, or for the hidden rows of logit rows. Rows that pad a part's sums are NaN. */
async function run (gpu: GpuHarness, { x, sums, weight, parts, threads, rows }: Case): Promise<{ x: GPUBuffer, y: GPUBuffer, row_scales: GPUBuffer, count: number }> {
  const hidden = weight.length
  const count = rows?.length ?? ROWS
  const padded = new Float64Array(parts * PART_ROWS * hidden).fill(NaN)
  for (let p = 0; p < parts; p++) padded.set(sums.subarray(p * ROWS * hidden, (p + 1) * ROWS * hidden), p * PART_ROWS * hidden)
  const buffers = { x: await gpu.upload(x, 'f32'), y: await gpu.poisoned(count * hidden, 'f32'), row_scales: await gpu.poisoned(ROWS + 1, 'f32') }
  await gpu.run(rmsNormSummed, {
    activation: 'f32',
    overrides: { HIDDEN_SIZE: hidden, EPS, GATHER: rows === undefined ? 0 : 1, PARTS: parts, PART_ROWS, THREADS: threads, LEFT_AT: 1, LEFT_ROWS: rows === undefined ? ROWS - 1 : 0 },
    buffers: {
      ...buffers,
      sums: await gpu.upload(padded, 'f32'),
      weight: await gpu.upload(weight, 'f32'),
      step: await gpu.step({ tokens: countedTokens(ROWS), ...rows === undefined ? {} : { logitRows: rows.map(hiddenRow => ({ ...plainLogitRow, hiddenRow })) } })
    },
    grid: [count + 1, 1, 1]
  })
  return { ...buffers, count }
}

function aCase (random: SeededRandom, hidden: number, parts: number): Omit<Case, 'threads'> {
  return { x: stored(random.normals(ROWS * hidden), 'f32'), sums: stored(random.normals(parts * ROWS * hidden), 'f32'), weight: stored(random.normals(hidden), 'f32'), parts }
}

/** x with every part added, float64. */
const added = ({ x, sums, parts }: Omit<Case, 'threads'>): Float64Array => x.map((value, i) => Array.from({ length: parts }, (_, p) => sums[p * x.length + i] ?? NaN).reduce((sum, part) => sum + part, value))

gpuTest('a norm adds the parts of the product before it to the residual stream and normalises the sum', opened, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const [hidden, threads, parts] of [[4, 32, 2], [124, 32, 3], [128, 32, 8], [132, 32, 2], [516, 128, 4]] as const) {
    const problem = aCase(random, hidden, parts)
    const { x, y, row_scales: left } = await run(gpu, { ...problem, threads })
    const sum = added(problem)
    const expected = reference(sum, problem.weight, EPS)
    const magnitude = added({ ...problem, x: problem.x.map(Math.abs), sums: problem.sums.map(Math.abs) })
    assertClose(t, await gpu.download(x, ROWS * hidden, 'f32'), sum, i => parts * F32_ROUNDING * (magnitude[i] ?? NaN), `residual stream, hidden size ${hidden}, ${parts} parts`)
    const words = await gpu.download(left, ROWS + 1, 'f32')
    const inverse = (row: number): number => (expected[row * hidden] ?? NaN) / (sum[row * hidden] ?? NaN) / (problem.weight[0] ?? NaN)
    assertClose(t, words.subarray(1, ROWS), Float64Array.from({ length: ROWS - 1 }, (_, row) => inverse(row)), i => inverse(i) * (hidden + 8 + 8 * parts) * F32_ROUNDING, `what the first rows are scaled by, hidden size ${hidden}`)
    t.ok(Number.isNaN(words[0]) && Number.isNaN(words[ROWS]), 'and nothing else is left')
    // What adding has lost is scaled by the norm like the sum itself; the rest is rms_norm's.
    assertClose(t, await gpu.download(y, ROWS * hidden, 'f32'), expected,
      i => ((hidden / 2 + 8 + parts) * Math.abs(expected[i] ?? NaN) + 2 * parts * Math.abs((expected[i] ?? NaN) / (sum[i] ?? NaN)) * (magnitude[i] ?? NaN)) * F32_ROUNDING + 1e-30, `norm, hidden size ${hidden}, ${parts} parts`)
  }
})

gpuTest('a norm of the rows that need logits adds parts, too, and leaves the residual stream alone, since rows may share it', opened, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 1)
  const problem = aCase(random, 68, 2)
  const rows = [4, 0, 3, 3]
  const all = await run(gpu, { ...problem, threads: 32 })
  const gathered = await run(gpu, { ...problem, threads: 32, rows })
  const bits = await gpu.bits(all.y, ROWS * 68, 'f32')
  assertSameBits(t, await gpu.bits(gathered.y, gathered.count * 68, 'f32'), Uint32Array.from(rows.flatMap(row => [...bits.subarray(row * 68, (row + 1) * 68)])), 'gathered rows are the rows')
  assertSameBits(t, await gpu.bits(gathered.x, ROWS * 68, 'f32'), new Uint32Array(Float32Array.from(problem.x).buffer), 'the residual stream is as it was')
})
