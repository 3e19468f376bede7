import t from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { gemvMerged } from '../../../packages/engine/src/kernels/matmul/gemv-merged.ts'
import { gemvRotary } from '../../../packages/engine/src/kernels/matmul/gemv-rotary.ts'
import { gemvNormed } from '../../../packages/engine/src/kernels/matmul/gemv-normed.ts'
import { gemvTiled } from '../../../packages/engine/src/kernels/matmul/gemv-tiled.ts'
import { plainSum } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { F16_ROUNDING, assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { matmulProblem, matmulSettings, weightPart } from './matmul-problem.ts'
import { rotaryHeads, rotaryScene } from './rotary-scene.ts'
import { countedTokens, plainLogitRow } from './step-records.ts'
import { inLayout } from './weight-order.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

const SEED = 20261127
const opened = await GpuHarness.open()
// They exchange values between two neighbouring lanes only, so any size of a subgroup will do.
const gpu = 'missing' in opened || (opened.device.capabilities.f16 && opened.device.capabilities.subgroups)
  ? opened
  : { missing: `${opened.device.report.name} has no subgroups or no f16` }

/** Parts of whole turns, as one, two or five of them, and K that ends within a part or leaves some without any. */
const LOOPS = [[4, 2, 128], [2, 2, 128], [2, 2, 320], [4, 2, 1056], [8, 4, 32]] as const

t.test('every matrix-vector kernel is valid WGSL', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  const loop = { splits: 4, ahead: 4, k: 2048, subgroup: 32 } as const
  const kernels = [
    gemvRotary(loop), gemvMerged({ ...loop, epilogue: 'residual' }), gemvMerged({ ...loop, epilogue: 'store' }),
    gemvNormed({ ...loop, epilogue: 'silu-gate' }), gemvTiled({ ...loop, rows: 4, epilogue: 'silu-gate' })
  ]
  for (const kernel of kernels) await assertValidWgsl(t, device, kernel)
})

gpuTest('vectors are multiplied by columns of a weight, in turns', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const [splits, ahead, k] of LOOPS) {
    for (const [rows, epilogue] of [[1, 'store'], [3, 'silu-gate']] as const) {
      const problem = matmulProblem(random, { rows, k, n: 48 }, { epilogue, finish: { ...plainSum, BIAS: 1 } })
      const type = epilogue === 'silu-gate' ? 'f16' : 'f32'
      const y = await gpu.poisoned(rows * 48, type)
      await gpu.run(gemvTiled({ rows, splits, ahead, k, subgroup: 32, epilogue }), {
        storage: 'f16',
        activation: 'f16',
        overrides: matmulSettings(problem, { logitRows: false, first: 0, count: 48 }),
        buffers: {
          x: await gpu.upload(problem.x, 'f16'),
          weight: await gpu.upload(inLayout(weightPart(problem, 0, 48), k, 'tiled'), 'f16'),
          bias: await gpu.upload(problem.bias, 'f32'),
          step: await gpu.step({ tokens: countedTokens(rows), logitRows: [plainLogitRow] }),
          y
        },
        grid: [3, 1, 1]
      })
      assertClose(t, await gpu.download(y, rows * 48, type), problem.expected, problem.tolerance, `${epilogue}, ${rows} rows, K ${k}, ${splits} splits of ${ahead} tiles a turn`)
    }
  }
})

gpuTest('a token is normalised, projected and rotated, and its key and value are written, in one kernel', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const EPS = 1e-5
  for (const [n, heads] of rotaryHeads.entries()) {
    const [splits, ahead, k] = LOOPS[[0, 2, 4, 3][n] ?? 0] ?? LOOPS[0]
    const residual = stored(random.normals(k, 3), 'f32')
    const norm = stored(random.normals(k), 'f32')
    const rms = Math.sqrt(residual.reduce((sum, value) => sum + value * value, 0) / k + EPS)
    const scene = await rotaryScene(gpu, random, heads, { k, count: 1, x: residual.map((value, i) => value / rms * (norm[i] ?? NaN)), roundings: k / 8 + 72 })
    await gpu.run(gemvRotary({ splits, ahead, k, subgroup: 32 }), {
      storage: 'f16',
      activation: 'f16',
      overrides: { ...scene.overrides, EPS },
      buffers: { ...scene.buffers, x: await gpu.upload(residual, 'f32'), norm: await gpu.upload(norm, 'f32') },
      grid: [scene.width / 16, 1, 1]
    })
    await scene.check(t, `heads of ${heads.headDim}, ${heads.numHeads} on ${heads.numKVHeads}, K ${k}`)
  }
})

gpuTest('the parts of a token\'s attention are merged and projected in one kernel', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 1)
  // Two parts and both sides of four at a time; a window that hides the first, or the first two; parts that lie behind others'.
  const cases = [[2, 0, 0, 'residual'], [4, 0, 3, 'residual'], [5, 0, 0, 'store'], [4, 70, 1, 'store'], [3, 20, 0, 'residual']] as const
  for (const [parts, window, partial, epilogue] of cases) {
    for (const [headDim, numHeads, n] of [[32, 4, 1], [64, 2, 0], [96, 11, 3]] as const) {
      const [splits, ahead] = LOOPS[n]
      const k = numHeads * headDim
      const splitKeys = 32
      const context = splitKeys * parts - 5
      const first = window === 0 ? 0 : Math.floor((context - window) / splitKeys)
      const known = (part: number): boolean => part >= first + partial && part < partial + parts
      const numParts = partial + parts + 1
      const out = stored(Float64Array.from({ length: numParts * k }, (_, i) => known(Math.floor(i / k)) ? random.normals(1)[0] ?? 0 : NaN), 'f32')
      const maxSum = stored(Float64Array.from({ length: numParts * numHeads * 2 }, (_, i) => !known(Math.floor(i / 2 / numHeads)) ? NaN : i % 2 === 0 ? random.normals(1)[0] ?? 0 : 1 + i % 7), 'f32')
      const attended = Float64Array.from({ length: k }, (_, column) => {
        const rows = Array.from({ length: parts - first }, (_, i) => (partial + first + i) * numHeads + Math.floor(column / headDim))
        const weights = rows.map(row => Math.exp(maxSum[2 * row] ?? NaN))
        const sum = (values: (row: number) => number): number => rows.reduce((total, row, i) => total + (weights[i] ?? NaN) * values(row), 0)
        return sum(row => out[row * headDim + column % headDim] ?? NaN) / sum(row => maxSum[2 * row + 1] ?? NaN)
      })
      const problem = matmulProblem(random, { rows: 1, k, n: 48 }, { epilogue, finish: { ...plainSum, BIAS: 1, SCALE: 0.5 }, x: attended })
      const y = epilogue === 'residual' ? await gpu.upload(problem.before, 'f32') : await gpu.poisoned(48, 'f32')
      await gpu.run(gemvMerged({ splits, ahead, k, subgroup: 32, epilogue }), {
        storage: 'f16',
        activation: 'f16',
        overrides: { ...matmulSettings(problem, { logitRows: false, first: 0, count: 48 }), HEAD_DIM: headDim, WINDOW: window },
        buffers: {
          x: await gpu.upload(out, 'f32'),
          weight: await gpu.upload(inLayout(problem.weight, k, 'tiled'), 'f16'),
          bias: await gpu.upload(problem.bias, 'f32'),
          step: await gpu.step({ splitKeys, tokens: countedTokens(1), singles: [{ tokenRow: 0, table: 0, context, partial }] }),
          y,
          max_sums: await gpu.upload(maxSum, 'f32')
        },
        grid: [3, 1, 1]
      })
      // What is multiplied was rounded to f16.
      const tolerance = (i: number): number => problem.tolerance(i) + 0.5 * F16_ROUNDING * attended.reduce((sum, value, j) => sum + Math.abs(value * (problem.weight[i * k + j] ?? NaN)), 0)
      assertClose(t, await gpu.download(y, 48, 'f32'), problem.expected, tolerance, `${parts} parts from ${partial}, window ${window}, ${numHeads} heads of ${headDim}`)
    }
  }
})
