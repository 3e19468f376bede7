import t from 'tap'
import type { Test } from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import type { Kernel } from '../../../packages/engine/src/kernels/define-kernel.ts'
import type { matmulBindings, matmulOverrides } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import { plainSum } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import { mmaFlat } from '../../../packages/engine/src/kernels/matmul/mma-flat.ts'
import { mmaTile, mmaTileColumns, mmaTileRows } from '../../../packages/engine/src/kernels/matmul/mma-tile.ts'
import type { Epilogue } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { siluGate } from '../../reference/gated-mlp.ts'
import { matmul as reference } from '../../reference/matmul.ts'
import { F16_ROUNDING, F16_SMALLEST, assertClose, assertSameBits } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens } from './step-records.ts'
import { inLayout } from './weight-order.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

interface Variant {
  readonly kernel: Kernel<typeof matmulBindings, typeof matmulOverrides[number]>
  readonly rows: number
  readonly columns: number
}

const SEED = 20261121
const subgroup = 32
const epilogues: readonly Epilogue[] = ['store', 'residual', 'silu-gate']
// The GELU form differs from the other gate in one line, which matmul-finish.test.ts computes: here it only has to compile.
const compiled: readonly Epilogue[] = [...epilogues, 'gelu-gate']

/** All kernels that must give the same bits for a weight cut into `splits` parts. */
function variants (epilogue: Epilogue, splits: number): Variant[] {
  const flat = (rowTiles: number, columnTiles: number, teams: number, ahead: number): Variant => ({
    kernel: mmaFlat({ rowTiles, columnTiles, splits, teams, ahead, subgroup, epilogue }),
    rows: 16 * rowTiles,
    columns: 16 * columnTiles * teams
  })
  const tile = (columnTiles: number): Variant => ({
    kernel: mmaTile({ splits, columnTiles, subgroup, epilogue }),
    rows: mmaTileRows,
    columns: mmaTileColumns(columnTiles, epilogue)
  })
  if (splits === 1) return [flat(1, 2, 2, 4), flat(2, 2, 2, 2), flat(4, 2, 2, 2), tile(2), tile(4)]
  return [flat(1, 1, 1, 4), flat(1, 1, 1, 8), flat(2, 1, 1, 4), ...(epilogue === 'silu-gate' ? [] : [flat(4, 1, 1, 2)]), tile(2)]
}

t.test('every tensor-core kernel is valid WGSL for an adapter that has tensor cores', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  for (const epilogue of compiled) {
    for (const { kernel } of [...variants(epilogue, 1), ...variants(epilogue, 8)]) {
      await assertValidWgsl(t, device, kernel)
    }
  }
})

const opened = await GpuHarness.open()
const gpu = 'missing' in opened || opened.device.capabilities.subgroupMatrix
  ? opened
  : { missing: `${opened.device.report.name} has no 16 × 16 × 16 tensor-core products` }

interface Problem { readonly m: number, readonly k: number, readonly n: number, readonly x: Float64Array, readonly weight: Float64Array, readonly before: Float64Array }

function problem (random: SeededRandom, m: number, k: number, n: number, epilogue: Epilogue): Problem {
  return {
    m,
    k,
    n,
    x: stored(random.normals(m * k), 'f16'),
    weight: stored(random.normals((epilogue === 'silu-gate' ? 2 * n : n) * k, 1 / Math.sqrt(k)), 'f16'),
    before: stored(random.normals(m * n), 'f32')
  }
}

/** y's buffer after one dispatch; the rows of x that only pad a tile are NaN. */
async function multiply (gpu: GpuHarness, { kernel, rows, columns }: Variant, epilogue: Epilogue, { m, k, n, x, weight, before }: Problem): Promise<GPUBuffer> {
  const gated = epilogue === 'silu-gate'
  const padded = new Float64Array(Math.ceil(m / mmaTileRows) * mmaTileRows * k).fill(NaN)
  padded.set(x)
  const y = epilogue === 'residual' ? await gpu.upload(before, 'f32') : await gpu.poisoned(m * n, gated ? 'f16' : 'f32')
  await gpu.run(kernel, {
    storage: 'f16',
    activation: 'f16',
    overrides: { K: k, N: gated ? 2 * n : n, FIRST_COLUMN: 0, COLUMNS: n, LOGIT_ROWS: 0, OWN_COLUMNS: n, ...plainSum },
    buffers: { x: await gpu.upload(padded, 'f16'), weight: await gpu.upload(inLayout(weight, k, 'tiled'), 'f16'), bias: await gpu.upload([NaN], 'f32'), step: await gpu.step({ tokens: countedTokens(m) }), y },
    grid: [Math.ceil(n / columns), Math.ceil(m / rows), 1]
  })
  return y
}

/** Tensor cores add f16 products in f32 and may truncate: 2⁻²² of a partial sum, at most Σ|x·w|, for each of k/16 + splits sums. */
function expectation ({ k, n, m, x, weight, before }: Problem, epilogue: Epilogue, splits: number): { values: Float64Array, tolerance: (i: number) => number } {
  const steps = (k / 16 + splits + 2) * 2 ** -22
  const magnitude = reference(x.map(Math.abs), weight.map(Math.abs), k)
  if (epilogue !== 'silu-gate') {
    const values = reference(x, weight, k, epilogue === 'residual' ? { residual: before } : {})
    return { values, tolerance: i => steps * (magnitude[i] ?? NaN) + 2 ** -23 * Math.abs(values[i] ?? NaN) + 1e-6 }
  }
  const gate = reference(x, weight.slice(0, n * k), k)
  const up = reference(x, weight.slice(n * k), k)
  const values = siluGate(gate, up).subarray(0, m * n)
  const magnitudeOf = (i: number, half: number): number => magnitude[Math.floor(i / n) * 2 * n + half * n + i % n] ?? NaN
  return {
    values,
    tolerance: i => 1.1 * steps * magnitudeOf(i, 0) * Math.abs(up[i] ?? NaN) + steps * magnitudeOf(i, 1) * Math.abs(gate[i] ?? NaN) +
      Math.abs(values[i] ?? NaN) * (F16_ROUNDING + 2 ** -19) + F16_SMALLEST + 1e-6
  }
}

// Rows at both sides of 16, 32, 64 and 128; columns that fill no workgroup; K of one and of several steps a part. Few pairs of K and
// columns, because each is a compilation of every kernel.
const sizes: ReadonlyArray<readonly [m: number, k: number, n: number]> = [[1, 256, 80], [15, 256, 80], [17, 256, 80], [33, 256, 80], [16, 512, 208], [65, 512, 208], [129, 512, 208]]

async function checkAll (t: Test, gpu: GpuHarness, epilogue: Epilogue, splits: number): Promise<void> {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const [m, k, n] of sizes) {
    const given = problem(random, m, k, n, epilogue)
    const type = epilogue === 'silu-gate' ? 'f16' : 'f32'
    const { values, tolerance } = expectation(given, epilogue, splits)
    let first: Uint32Array | undefined
    for (const variant of variants(epilogue, splits)) {
      const y = await multiply(gpu, variant, epilogue, given)
      assertClose(t, await gpu.download(y, m * n, type), values, tolerance, `${variant.kernel.name} ${m} × ${k} × ${n}`)
      const bits = await gpu.bits(y, m * n, type)
      if (first !== undefined) assertSameBits(t, bits, first, `${variant.kernel.name} has the first variant's bits`)
      first ??= bits
    }
  }
}

for (const epilogue of epilogues) {
  for (const splits of [1, 8]) {
    gpuTest(`all tensor-core kernels with ${splits} part(s) of K compute ${epilogue} alike and right`, gpu, (t, gpu) => checkAll(t, gpu, epilogue, splits))
  }
}

gpuTest('a row on tensor cores has the same bits alone and among neighbours', gpu, async (t, gpu) => {
  const random = new SeededRandom(SEED + 1)
  const whole = problem(random, 130, 512, 208, 'store')
  const [alone, , , , together] = variants('store', 8)
  if (alone === undefined || together === undefined) throw new Error('variants are missing')
  const all = await gpu.bits(await multiply(gpu, together, 'store', whole), 130 * 208, 'f32')
  for (const row of [0, 63, 129]) {
    const one = { ...whole, m: 1, x: whole.x.slice(row * 512, (row + 1) * 512) }
    assertSameBits(t, await gpu.bits(await multiply(gpu, alone, 'store', one), 208, 'f32'), all.slice(row * 208, (row + 1) * 208), `row ${row}`)
  }
})
