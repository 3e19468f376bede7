import type { StorageType } from '../../../packages/engine/src/engine.ts'
import { rmsNorm } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { rmsNorm as reference } from '../../reference/rms-norm.ts'
import { F16_ROUNDING, F16_SMALLEST, F32_ROUNDING, assertClose, assertSameBits } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens, plainLogitRow } from './step-records.ts'

const SEED = 20260702
const EPS = 1e-5
const withSubgroups = await GpuHarness.open()
const withoutSubgroups = await GpuHarness.open({ without: ['subgroups'] })

interface Case { readonly x: Float64Array, readonly weight: Float64Array, readonly threads: number, readonly activation: StorageType, readonly rows?: readonly number[] }

/** Of how many rows the inverse root mean square is left, where, and words of the buffer. */
const [LEFT_ROWS, LEFT_AT, LEFT_WORDS] = [2, 3, 7]

/** The kernel's output buffer for the given hidden rows, all of them in order unless `rows` gathers some, and what it leaves of the first. */
async function normalise (gpu: GpuHarness, { x, weight, threads, activation, rows }: Case): Promise<{ buffer: GPUBuffer, length: number, left: GPUBuffer }> {
  const hiddenSize = weight.length
  const count = rows?.length ?? x.length / hiddenSize
  const buffer = await gpu.poisoned(count * hiddenSize, activation)
  const left = await gpu.poisoned(LEFT_WORDS, 'f32')
  await gpu.run(rmsNorm, {
    activation,
    overrides: { HIDDEN_SIZE: hiddenSize, EPS, GATHER: rows === undefined ? 0 : 1, THREADS: threads, LEFT_AT, LEFT_ROWS: rows === undefined ? LEFT_ROWS : 0 },
    buffers: {
      x: await gpu.upload(x, 'f32'),
      weight: await gpu.upload(weight, 'f32'),
      step: await gpu.step({
        tokens: countedTokens(x.length / hiddenSize),
        ...rows === undefined ? {} : { logitRows: rows.map(hiddenRow => ({ ...plainLogitRow, hiddenRow })) }
      }),
      y: buffer,
      row_scales: left
    },
    grid: [count + 1, 1, 1]
  })
  return { buffer, length: count * hiddenSize, left }
}

for (const [subgroups, gpu] of [['with', withSubgroups], ['without', withoutSubgroups]] as const) {
  gpuTest(`rms_norm ${subgroups} subgroups equals the reference at both sides of a workgroup's width`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const [hiddenSize, threads] of [[4, 32], [124, 32], [128, 32], [132, 32], [384, 128], [516, 128]] as const) {
      for (const activation of ['f32', 'f16'] as const) {
        // The last row is so small that eps decides, the one before large.
        const x = stored(Float64Array.from([...random.normals(3 * hiddenSize), ...random.normals(hiddenSize, 300), ...random.normals(hiddenSize, 1e-4)]), 'f32')
        const weight = stored(random.normals(hiddenSize), 'f32')
        const { buffer, length, left } = await normalise(gpu, { x, weight, threads, activation })
        const expected = reference(x, weight, EPS)
        const inverses = Float64Array.from({ length: LEFT_ROWS }, (_, row) => (expected[row * hiddenSize] ?? NaN) / (x[row * hiddenSize] ?? NaN) / (weight[0] ?? NaN))
        const words = await gpu.download(left, LEFT_WORDS, 'f32')
        assertClose(t, words.subarray(LEFT_AT, LEFT_AT + LEFT_ROWS), inverses, i => (inverses[i] ?? NaN) * (hiddenSize / 2 + 8) * F32_ROUNDING, `what the first rows are scaled by, hidden size ${hiddenSize}`)
        t.ok([...words.subarray(0, LEFT_AT), ...words.subarray(LEFT_AT + LEFT_ROWS)].every(Number.isNaN), 'and nothing else is left')
        // The sum of squares rounds at most hiddenSize times, which the root halves; inverseSqrt is good to 2 ulp, two products follow.
        const relative = (hiddenSize / 2 + 8) * F32_ROUNDING + (activation === 'f16' ? F16_ROUNDING : 0)
        assertClose(t, await gpu.download(buffer, length, activation), expected,
          i => Math.abs(expected[i] ?? NaN) * relative + (activation === 'f16' ? F16_SMALLEST : 1e-30), `hidden size ${hiddenSize}, ${activation}`)
      }
    }
  })

  gpuTest(`rms_norm ${subgroups} subgroups gathers the rows that need logits`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const weight = stored(random.normals(68), 'f32')
    const x = stored(random.normals(7 * 68), 'f32')
    const rows = [6, 0, 3, 3]
    const all = await normalise(gpu, { x, weight, threads: 32, activation: 'f32' })
    const gathered = await normalise(gpu, { x, weight, threads: 32, activation: 'f32', rows })
    const bits = await gpu.bits(all.buffer, all.length, 'f32')
    const expected = Uint32Array.from(rows.flatMap(row => [...bits.subarray(row * 68, (row + 1) * 68)]))
    assertSameBits(t, await gpu.bits(gathered.buffer, gathered.length, 'f32'), expected, 'gathered rows are the rows')
  })

  gpuTest(`rms_norm ${subgroups} subgroups gives a row the same bits alone and among neighbours`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const weight = stored(random.normals(132), 'f32')
    const x = stored(random.normals(5 * 132), 'f32')
    const all = await normalise(gpu, { x, weight, threads: 32, activation: 'f32' })
    const bits = await gpu.bits(all.buffer, all.length, 'f32')
    for (let row = 0; row < 5; row++) {
      const alone = await normalise(gpu, { x: x.slice(row * 132, (row + 1) * 132), weight, threads: 32, activation: 'f32' })
      assertSameBits(t, await gpu.bits(alone.buffer, alone.length, 'f32'), bits.subarray(row * 132, (row + 1) * 132), `row ${row}`)
    }
  })
}
