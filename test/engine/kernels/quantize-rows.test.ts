import { quantizeRows } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { quantizeRows as reference } from '../../reference/int8.ts'
import { F32_ROUNDING, assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens } from './step-records.ts'

const SEED = 20261127
const gpu = await GpuHarness.open()
const withoutSubgroups = await GpuHarness.open({ without: ['subgroups'] })

async function quantize (gpu: GpuHarness, x: Float64Array, size: number, activation: 'f16' | 'f32', threads: number): Promise<{ readonly q: Int8Array, readonly scale: Float64Array }> {
  const rows = x.length / size
  const [q, scale] = [await gpu.poisoned(x.length / 4, 'u32'), await gpu.poisoned(rows, 'f32')]
  await gpu.run(quantizeRows, {
    storage: 'f32',
    activation,
    overrides: { HIDDEN_SIZE: size, THREADS: threads },
    buffers: { x: await gpu.upload(x, activation), step: await gpu.step({ tokens: countedTokens(rows) }), q, scale },
    // A recorded dispatch may be wider than the step.
    grid: [rows + 1, 1, 1]
  })
  return { q: new Int8Array((await gpu.bits(q, x.length / 4, 'u32')).buffer), scale: await gpu.download(scale, rows, 'f32') }
}

for (const [subgroups, harness] of [['with', gpu], ['without', withoutSubgroups]] as const) {
  gpuTest(`quantize_rows ${subgroups} subgroups gives each row the scale of its largest value, at both sides of a workgroup's width`, harness, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const [size, threads] of [[4, 32], [124, 32], [128, 32], [132, 32], [1056, 128]] as const) {
      for (const activation of ['f32', 'f16'] as const) {
        const x = stored(Float64Array.from([...random.normals(2 * size), ...random.normals(size, 300), ...random.normals(size, 1e-3), ...new Float64Array(size)]), activation)
        const { q, scale } = await quantize(gpu, x, size, activation, threads)
        const expected = reference(x, size)
        const message = `${size} values, ${activation}`
        // A division is good to 2.5 ulp.
        assertClose(t, scale, expected.scale, row => 5 * F32_ROUNDING * (expected.scale[row] ?? NaN) + Number.MIN_VALUE, `${message}: scales`)
        // The reciprocal and the product round, so that what is nearly a tie may go either way.
        assertClose(t, q, x.map((value, i) => {
          const own = expected.scale[Math.floor(i / size)] ?? NaN
          return own === 0 ? 0 : value / own
        }), () => 0.5 + 127 * 8 * F32_ROUNDING, `${message}: values`)
        for (const row of [0, 1, 2, 3]) t.equal(Math.max(...q.subarray(row * size, (row + 1) * size).map(Math.abs)), 127, `${message}: row ${row} reaches 127`)
        t.ok(q.subarray(4 * size).every(value => value === 0) && scale[4] === 0, `${message}: a row of zeros`)
      }
    }
  })
}

gpuTest('values between two numbers go to the nearer, both ways from zero', gpu, async (t, gpu) => {
  // Ties are left out: whether a quotient is one depends on how an adapter divides.
  const x = Float64Array.of(127, -127, 0.49, -0.49, 0.51, -0.51, 1.49, -1.51, 126.4, -126.6, 3, -4)
  const { q } = await quantize(gpu, x, x.length, 'f32', 32)
  t.strictSame([...q], [127, -127, 0, 0, 1, -1, 1, -2, 126, -127, 3, -4])
  t.strictSame([...q], [...reference(x, x.length).q])
})

gpuTest('a row too small to divide by is zeros', gpu, async (t, gpu) => {
  const { q, scale } = await quantize(gpu, Float64Array.of(1e-31, -1e-31, 0, 0, 1, 0, 0, -1), 4, 'f32', 32)
  t.strictSame([[...q], scale[0]], [[0, 0, 0, 0, 127, 0, 0, -127], 0])
})
