import t from 'tap'
import type { Test } from 'tap'
import type { DeviceCapabilities } from '../../../packages/engine/src/device/device-capabilities.ts'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { fastVariants, vectorLoop } from '../../../packages/engine/src/kernels/matmul/fast-variants.ts'
import { gemvNormed } from '../../../packages/engine/src/kernels/matmul/gemv-normed.ts'
import { gemvTiled } from '../../../packages/engine/src/kernels/matmul/gemv-tiled.ts'
import { plainSum } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import type { MatmulVariant } from '../../../packages/engine/src/kernels/matmul/matmul-variant.ts'
import { isGated } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import type { Epilogue } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import { productVariant } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import { knownAdapters } from '../../../packages/engine/src/tuning/known-adapters.ts'
import { knownProducts } from '../../../packages/engine/src/tuning/known-products.ts'
import { rowRanges } from '../../../packages/engine/src/tuning/product-candidates.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { float16Bits, float16FromBits, stored } from '../../reference/float16.ts'
import { assertClose } from './assert-close.ts'
import { GpuHarness, POISON, gpuTest } from './gpu-harness.ts'
import { matmulProblem, matmulSettings, weightPart } from './matmul-problem.ts'
import type { Finish, MatmulProblem } from './matmul-problem.ts'
import { countedTokens, plainLogitRow } from './step-records.ts'
import { inLayout } from './weight-order.ts'
import { workgroupBytes, workgroupThreads } from './workgroup-use.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

const SEED = 20261126
const epilogues: readonly Epilogue[] = ['store', 'residual', 'silu-gate', 'gelu-gate']
// Both sides of every width that a choice depends on, and of 4,096 in depth; depths that 32, 64, 96 and more divide.
const WIDTHS = [32, 576, 2560, 2592, 4096, 6144, 6176, 14_336, 32_736, 32_768, 151_936]
const DEPTHS = [32, 96, 576, 2048, 2880, 4096, 4128, 8192, 14_336]
/** Rows that activations are padded to: activation-buffers.ts. */
const ROW_PADDING = 128

const adapter = (maxWorkgroupBytes: number): DeviceCapabilities => ({
  f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes
})

interface Choice { readonly columns: number, readonly k: number, readonly variants: readonly MatmulVariant[], readonly maxWorkgroupBytes: number, readonly name: string }

function choices (epilogue: Epilogue, ...memories: readonly number[]): Choice[] {
  return memories.flatMap(maxWorkgroupBytes => WIDTHS.flatMap(columns => DEPTHS.map(k => ({
    columns, k, maxWorkgroupBytes, variants: fastVariants(columns, k, epilogue, adapter(maxWorkgroupBytes)), name: `${epilogue} ${columns} × ${k} in ${maxWorkgroupBytes >> 10} KiB`
  }))))
}

/** Each kernel once. */
function distinct (all: readonly MatmulVariant[]): MatmulVariant[] {
  return [...new Map(all.map(variant => [variant.kernel.name, variant])).values()]
}

/** K that a kernel stages at a time, or the K that a matrix-vector kernel is for. */
function depthOf ({ kernel: { name } }: MatmulVariant): { readonly type: 'matrix' | 'vector', readonly depth: number } {
  const [, type, depth] = /^matmul_(mma|gemv_tiled)_.*_k(\d+)$/.exec(name) ?? []
  if (depth === undefined) throw new Error(`the name ${name} does not tell a depth`)
  return { type: type === 'mma' ? 'matrix' : 'vector', depth: Number(depth) }
}

t.test('every fast kernel that a weight may take is valid WGSL for an adapter that has tensor cores', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  for (const epilogue of epilogues) {
    const chosen = distinct([...choices(epilogue, 48 << 10, 32 << 10).flatMap(({ variants }) => variants), ...unchosen(epilogue), ...measured(epilogue), ...known(epilogue, 48 << 10)])
    const normed = DEPTHS.flatMap(k => WIDTHS.map(columns => gemvNormed({ ...vectorLoop(columns, k, adapter(48 << 10)), epilogue })))
    for (const kernel of new Map([...chosen.map(({ kernel }) => kernel), ...normed].map(kernel => [kernel.name, kernel])).values()) await assertValidWgsl(t, device, kernel)
  }
})

t.test('for every weight the fast variants serve one row, any number of rows, and none twice', async t => {
  for (const { name, variants } of epilogues.flatMap(epilogue => choices(epilogue, 48 << 10, 32 << 10))) {
    const limits = variants.map(({ upTo }) => upTo)
    t.ok((limits[0] ?? 0) >= 1 && limits.at(-1) === Infinity, `${name}: from one row to all`)
    t.ok(limits.every((upTo, i) => i === 0 || upTo > (limits[i - 1] ?? Infinity)), `${name}: ascending, ${limits.join(', ')}`)
    t.ok(variants.every(({ rows, columns }) => ROW_PADDING % rows === 0 && columns % 16 === 0), `${name}: tiles end where the padding of activations does`)
  }
})

t.test('a fast kernel takes no more threads and workgroup memory than there are, and whole stages of K', async t => {
  for (const { name, k, variants, maxWorkgroupBytes } of epilogues.flatMap(epilogue => choices(epilogue, 48 << 10, 32 << 10))) {
    for (const variant of variants) {
      const { kernel } = variant
      t.ok(workgroupThreads(kernel.wgsl) <= 1024 && workgroupBytes(kernel.wgsl) <= maxWorkgroupBytes, `${kernel.name} for ${name}: ${workgroupThreads(kernel.wgsl)} threads, ${workgroupBytes(kernel.wgsl)} bytes`)
      const { type, depth } = depthOf(variant)
      t.ok(type === 'vector' || k % depth === 0, `${kernel.name} for ${name}: stages of ${depth}`)
    }
  }
})

const opened = await GpuHarness.open()
const gpu = 'missing' in opened || (opened.device.capabilities.subgroupMatrix && opened.device.report.subgroupMaxSize === 32)
  ? opened
  : { missing: `${opened.device.report.name} has no 16 × 16 × 16 tensor-core products by subgroups of 32` }

/** A form that no weight takes at present, though a measured table may. */
function unchosen (epilogue: Epilogue): MatmulVariant[] {
  return [{ kernel: gemvTiled({ rows: 2, splits: 4, ahead: 8, k: 1056, subgroup: 32, epilogue }), rows: 2, columns: 16, upTo: 2 }]
}

/** What tuning measures of a shape that all stages divide. */
function measured (epilogue: Epilogue): MatmulVariant[] {
  return rowRanges(4096, true).flatMap(({ upTo, candidates }) => candidates.flatMap(kernel => productVariant({ upTo, kernel }, 8192, epilogue, adapter(48 << 10)) ?? []))
}

/** What known adapters were measured to be fastest with; parts have a test of their own. */
function known (epilogue: Epilogue, maxWorkgroupBytes: number): MatmulVariant[] {
  return knownAdapters.flatMap(({ adapter: name }) => Object.entries(knownProducts({ name })).flatMap(([key, choices]) => {
    const k = Number(/x (\d+)/.exec(key)?.[1])
    return choices.flatMap(choice => productVariant(choice, k, epilogue, adapter(maxWorkgroupBytes)) ?? [])
  })).filter(({ parts = 1 }) => parts === 1)
}

/** A problem whose weight and bias lie on the device. */
interface Placed { readonly problem: MatmulProblem, readonly halves: Uint16Array<ArrayBuffer>, readonly parts: ReadonlyArray<{ readonly first: number, readonly count: number, readonly buffer: GPUBuffer }>, readonly bias: GPUBuffer }

async function place (gpu: GpuHarness, problem: MatmulProblem, widths: readonly number[] = [problem.n]): Promise<Placed> {
  let first = 0
  const parts = []
  for (const count of widths) {
    parts.push({ first, count, buffer: await gpu.upload(inLayout(weightPart(problem, first, count), problem.k, 'tiled'), 'f16') })
    first += count
  }
  return { problem, halves: Uint16Array.from(problem.x, float16Bits), parts, bias: await gpu.upload(problem.finish.BIAS === 1 ? problem.bias : [NaN], 'f32') }
}

/**
 * y's first m rows against the reference. Rows of x that only pad a workgroup's are NaN. Nothing but such rows may be written besides,
 * and rows of logits, whose buffer is not padded, not even those.
 */
async function check (t: Test, gpu: GpuHarness, { kernel, rows, columns, rowsFirst = false }: MatmulVariant, { problem, halves, parts, bias }: Placed, m: number, logitRows = false): Promise<void> {
  const { k, n, epilogue } = problem
  const type = isGated(epilogue) ? 'f16' : 'f32'
  const padded = Math.ceil(m / rows) * rows
  const x = await gpu.poisoned(padded * k, 'f16')
  gpu.device.queue.writeBuffer(x, 0, halves, 0, m * k)
  const y = await gpu.poisoned((padded + 16) * n, type)
  if (epilogue === 'residual') gpu.device.queue.writeBuffer(y, 0, Float32Array.from(problem.before.subarray(0, m * n)))
  // The other count is one: a kernel that took it would leave rows unwritten.
  const step = await gpu.step(logitRows ? { tokens: countedTokens(1), logitRows: new Array(m).fill(plainLogitRow) } : { tokens: countedTokens(m), logitRows: [plainLogitRow] })
  for (const { first, count, buffer } of parts) {
    const [alongRows, alongColumns] = [Math.ceil(m / rows), Math.ceil(count / columns)]
    await gpu.run(kernel, {
      storage: 'f16',
      activation: 'f16',
      overrides: matmulSettings(problem, { logitRows, first, count }),
      buffers: { x, weight: buffer, bias, step, y },
      grid: rowsFirst ? [alongRows, alongColumns, 1] : [alongColumns, alongRows, 1]
    })
  }
  const words = await gpu.bits(y, (padded + 16) * n, type)
  const values = type === 'f16' ? Float64Array.from(new Uint16Array(words.buffer).subarray(0, m * n), float16FromBits) : Float64Array.from(new Float32Array(words.buffer).subarray(0, m * n))
  const name = `${kernel.name} ${m} × ${k} × ${n}${logitRows ? ', logit rows' : ''}`
  assertClose(t, values, problem.expected.subarray(0, m * n), problem.tolerance, name)
  const mayWrite = (logitRows ? m : padded) * n * (type === 'f16' ? 2 : 4) / 4
  const stray = words.findIndex((word, i) => i >= mayWrite && word !== POISON)
  t.equal(stray, -1, `${name}: nothing is written behind the rows`)
}

// 144 columns fill no workgroup of 32, 64 or 128; a vector kernel has 16.
const widthOf = (type: 'matrix' | 'vector'): number => type === 'matrix' ? 144 : 48
const finishes: Readonly<Record<Epilogue, Finish>> = {
  store: { BIAS: 1, SCALE: 0.8, SOFTCAP: 1.5 },
  residual: { BIAS: 1, SCALE: 0.22, SOFTCAP: 0 },
  'silu-gate': { ...plainSum, BIAS: 1 },
  'gelu-gate': { ...plainSum, BIAS: 1 }
}

for (const epilogue of epilogues) {
  gpuTest(`every fast kernel computes ${epilogue} like the reference, whatever number of rows and of stages`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const placed = new Map<string, Placed>()
    const placedProblem = async (rows: number, k: number, n: number, finish: Finish): Promise<Placed> => {
      const key = JSON.stringify([rows, k, n, finish])
      const found = placed.get(key) ?? await place(gpu, matmulProblem(random, { rows, k, n }, { epilogue, finish }))
      placed.set(key, found)
      return found
    }
    const variants = distinct([...choices(epilogue, gpu.device.capabilities.maxWorkgroupBytes).flatMap(({ variants }) => variants), ...unchosen(epilogue), ...known(epilogue, gpu.device.capabilities.maxWorkgroupBytes)])
    const sizeOf = (variant: MatmulVariant): { readonly n: number, readonly few: number, readonly many: number } => {
      const { type, depth } = depthOf(variant)
      return { n: widthOf(type), few: depth, many: type === 'matrix' ? 3 * depth : depth }
    }
    await gpu.compile(variants.flatMap(variant => {
      const { n, few, many } = sizeOf(variant)
      const settings = (k: number, finish: Finish, logitRows: boolean) => [variant.kernel, matmulSettings({ k, n, epilogue, finish }, { logitRows, first: 0, count: n })] as const
      return [settings(many, plainSum, false), settings(few, finishes[epilogue], false), ...epilogue === 'store' ? [settings(few, plainSum, true)] : []]
    }))
    for (const variant of variants) {
      const { type } = depthOf(variant)
      const { rows } = variant
      const most = type === 'matrix' ? ROW_PADDING + 1 : 5
      const { n, few, many } = sizeOf(variant)
      const plain = await placedProblem(most, many, n, plainSum)
      for (const m of new Set([1, rows - 1, rows, rows + 1])) if (m > 0) await check(t, gpu, variant, plain, m)
      const finished = await placedProblem(most, few, n, finishes[epilogue])
      for (const m of [1, rows + 1]) await check(t, gpu, variant, finished, m)
      // Logits are only ever stored.
      if (epilogue === 'store') await check(t, gpu, variant, await placedProblem(most, few, n, plainSum), rows + 1, true)
    }
  })
}

gpuTest('the parts of a weight split over buffers write their own columns, whatever the fast kernel', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 1)
  for (const epilogue of ['store', 'residual', 'silu-gate'] as const) {
    const placed = await place(gpu, matmulProblem(random, { rows: 70, k: 256, n: 144 }, { epilogue }), [64, 80])
    // A matrix-vector kernel, one that cuts K, and one that does not.
    for (const variant of fastVariants(144, 256, epilogue, gpu.device.capabilities)) await check(t, gpu, variant, placed, Math.min(70, variant.rows + 1))
  }
})

for (const epilogue of epilogues) {
  gpuTest(`a row of the residual stream is normalised and multiplied in one kernel: ${epilogue}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED + 2)
    const [ROWS, EPS, n] = [3, 1e-5, 48]
    for (const [splits, k, logitRows] of [[2, 32, false], [4, 1056, false], [32, 4128, true], [8, 96, true]] as const) {
      if (logitRows && epilogue !== 'store') continue
      const residual = stored(random.normals(ROWS * k, 3), 'f32')
      const norm = stored(random.normals(k), 'f32')
      // One row is computed: the first token, or the hidden row of the first logit row.
      const row = logitRows ? 2 : 0
      const own = residual.slice(row * k, (row + 1) * k)
      const rms = Math.sqrt(own.reduce((sum, value) => sum + value * value, 0) / k + EPS)
      // The sum of squares rounds as often as the product, and its root and the norm's weight a few times.
      const problem = matmulProblem(random, { rows: 1, k, n }, { epilogue, finish: finishes[epilogue], x: own.map((value, i) => value / rms * (norm[i] ?? NaN)), roundings: k / 8 + 72 })
      const { parts: [part], bias } = await place(gpu, problem)
      if (part === undefined) throw new Error('the weight is missing')
      const type = isGated(epilogue) ? 'f16' : 'f32'
      const y = epilogue === 'residual' ? await gpu.upload(problem.before, 'f32') : await gpu.poisoned(n, type)
      await gpu.run(gemvNormed({ splits, ahead: 8, k, subgroup: 32, epilogue }), {
        storage: 'f16',
        activation: 'f16',
        overrides: { ...matmulSettings(problem, { logitRows, first: 0, count: n }), EPS },
        buffers: {
          x: await gpu.upload(residual, 'f32'),
          weight: part.buffer,
          bias,
          step: await gpu.step({ tokens: countedTokens(logitRows ? 3 : 1), logitRows: [{ ...plainLogitRow, hiddenRow: row }] }),
          y,
          norm: await gpu.upload(norm, 'f32')
        },
        grid: [n / 16, 1, 1]
      })
      assertClose(t, await gpu.download(y, n, type), problem.expected, problem.tolerance, `${splits} splits, K ${k}${logitRows ? ', a logit row' : ''}`)
    }
  })
}
