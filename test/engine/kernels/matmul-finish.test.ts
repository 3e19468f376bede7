import { fmaMatmul } from '../../../packages/engine/src/kernels/matmul/fma-matmul.ts'
import { mmaFlat } from '../../../packages/engine/src/kernels/matmul/mma-flat.ts'
import { mmaTile, mmaTileColumns, mmaTileRows } from '../../../packages/engine/src/kernels/matmul/mma-tile.ts'
import type { matmulBindings, matmulOverrides } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import type { Kernel } from '../../../packages/engine/src/kernels/define-kernel.ts'
import { isGated } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import type { Epilogue, WeightLayout } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { geluGate, siluGate } from '../../reference/gated-mlp.ts'
import { matmul as reference } from '../../reference/matmul.ts'
import { F16_ROUNDING, assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens } from './step-records.ts'
import { inLayout } from './weight-order.ts'

/** What happens to a sum before it is stored: bias, scale, soft-cap, activation. The sums themselves are fma-matmul.test.ts's. */
const SEED = 20261124
const M = 5
const K = 64
const N = 48
const gpu = await GpuHarness.open()

interface Finish { readonly biased: boolean, readonly scale: number, readonly softcap: number }
interface Variant {
  readonly kernel: Kernel<typeof matmulBindings, typeof matmulOverrides[number]>
  readonly layout: WeightLayout
  readonly rows: number
  readonly columns: number
}

const cases: ReadonlyArray<readonly [Epilogue, Finish]> = [
  ['store', { biased: true, scale: 1, softcap: 0 }],
  ['store', { biased: false, scale: 0.125, softcap: 1.5 }],
  ['residual', { biased: true, scale: 0.22, softcap: 0 }],
  ['silu-gate', { biased: true, scale: 1, softcap: 0 }],
  ['gelu-gate', { biased: true, scale: 1, softcap: 0 }],
  ['gelu-gate', { biased: false, scale: 1, softcap: 0 }]
]

// A software adapter compiles each for seconds: the two forms take turns there, and one case alone is split over two buffers.
function variants (epilogue: Epilogue, turn: number): Variant[] {
  const fma = (parallelSplits: boolean): Variant => ({
    kernel: fmaMatmul({ rows: 2, columns: 32, splits: parallelSplits ? 8 : 1, parallelSplits, epilogue }),
    layout: 'interleaved',
    rows: 2,
    columns: 32
  })
  if ('missing' in gpu || !gpu.device.capabilities.subgroupMatrix) return [fma(turn % 2 === 1)]
  const subgroup = gpu.device.report.subgroupMaxSize
  return [
    fma(false),
    fma(true),
    { kernel: mmaFlat({ rowTiles: 1, columnTiles: 1, splits: 2, teams: 1, ahead: 2, subgroup, epilogue }), layout: 'tiled', rows: 16, columns: 16 },
    { kernel: mmaTile({ splits: 2, columnTiles: 2, subgroup, epilogue }), layout: 'tiled', rows: mmaTileRows, columns: mmaTileColumns(2, epilogue) }
  ]
}

for (const [turn, [epilogue, finish]] of cases.entries()) {
  const { biased, scale, softcap } = finish
  gpuTest(`${epilogue} ${biased ? 'adds a bias' : 'has no bias'}, scales by ${scale}${softcap > 0 ? ` and caps at ${softcap}` : ''}${turn === 0 ? ', in two parts' : ''}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const gated = isGated(epilogue)
    const x = stored(random.normals(M * K), 'f16')
    const weight = stored(random.normals((gated ? 2 * N : N) * K, 2 / Math.sqrt(K)), 'f16')
    const bias = stored(random.normals(gated ? 2 * N : N), 'f32')
    const before = stored(random.normals(M * N), 'f32')
    const expected = expectation({ x, weight, bias, before }, epilogue, finish)
    for (const { kernel, layout, rows, columns } of variants(epilogue, turn)) {
      const tensorCores = layout === 'tiled'
      const storage = tensorCores ? 'f16' : 'f32'
      const padded = new Float64Array(mmaTileRows * K)
      padded.set(x)
      const y = epilogue === 'residual' ? await gpu.upload(before, 'f32') : await gpu.poisoned(M * N, gated ? storage : 'f32')
      const given = await gpu.upload(tensorCores ? padded : x, storage)
      const biases = await gpu.upload(biased ? bias : [NaN], 'f32')
      for (const { first, count } of turn === 0 ? [{ first: 0, count: 32 }, { first: 32, count: 16 }] : [{ first: 0, count: N }]) {
        const part = (from: number): Float64Array => weight.slice(from * K, (from + count) * K)
        const own = gated ? Float64Array.from([...part(first), ...part(N + first)]) : part(first)
        await gpu.run(kernel, {
          storage,
          activation: storage,
          overrides: { K, N: own.length / K, FIRST_COLUMN: first, COLUMNS: N, LOGIT_ROWS: 0, OWN_COLUMNS: count, BIAS: Number(biased), SCALE: scale, SOFTCAP: softcap },
          buffers: { x: given, weight: await gpu.upload(inLayout(own, K, layout), storage), bias: biases, step: await gpu.step({ tokens: countedTokens(M) }), y },
          grid: [Math.ceil(count / columns), Math.ceil(M / rows), 1]
        })
      }
      // Sums of 64 products of values up to 4, then a few operations; a gate multiplies two of them.
      const rounding = (value: number): number => 2e-5 + Math.abs(value) * (2e-5 + (gated && tensorCores ? F16_ROUNDING : 0))
      assertClose(t, await gpu.download(y, M * N, gated ? storage : 'f32'), expected, i => rounding(expected[i] ?? NaN), kernel.name)
    }
  })
}

gpuTest('a gate that saturates its activation is stored finite', gpu, async (t, gpu) => {
  for (const epilogue of ['gelu-gate'] as const) {
    const y = await gpu.poisoned(4, 'f16')
    await gpu.run(fmaMatmul({ rows: 1, columns: 32, splits: 1, parallelSplits: false, epilogue }), {
      activation: 'f16',
      overrides: { K: 4, N: 8, FIRST_COLUMN: 0, COLUMNS: 4, LOGIT_ROWS: 0, OWN_COLUMNS: 4, BIAS: 0, SCALE: 1, SOFTCAP: 0 },
      buffers: {
        x: await gpu.upload([1000, 0, 0, 0], 'f32'),
        // Gates of 1,000 and -1,000, ups of 1,000 and -1,000: products of a million, or of nothing.
        weight: await gpu.upload(inLayout(Float64Array.from([1, 1, -1, 0, 1, -1, 1, 1].flatMap(w => [w, 0, 0, 0])), 4, 'interleaved'), 'f32'),
        bias: await gpu.upload([NaN], 'f32'),
        step: await gpu.step({ tokens: countedTokens(1) }),
        y
      },
      grid: [1, 1, 1]
    })
    t.strictSame((await gpu.download(y, 4, 'f16')).map(value => value + 0), Float64Array.of(65504, -65504, 0, 0), epilogue)
  }
})

function expectation ({ x, weight, bias, before }: { readonly x: Float64Array, readonly weight: Float64Array, readonly bias: Float64Array, readonly before: Float64Array }, epilogue: Epilogue, { biased, scale, softcap }: Finish): Float64Array {
  const half = (i: number): Float64Array => reference(x, weight.slice(i * N * K, (i + 1) * N * K), K, biased ? { bias: bias.slice(i * N, (i + 1) * N) } : {})
  if (epilogue === 'silu-gate') return siluGate(half(0), half(1))
  if (epilogue === 'gelu-gate') return geluGate(half(0), half(1))
  return half(0).map((sum, i) => {
    const capped = softcap > 0 ? softcap * Math.tanh(sum * scale / softcap) : sum * scale
    return epilogue === 'residual' ? capped + (before[i] ?? NaN) : capped
  })
}
