import t from 'tap'
import { NoAdapterError, openKernelBench } from '@daybreak/engine'
import type { KernelBench, KernelBenchPlan, KernelMeasurement } from '@daybreak/engine'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { measurePassSeconds } from '../../../packages/engine/src/bench/pass-seconds.ts'

// A shader's first compilation takes seconds on a software adapter; later runs find it in the driver's cache on disk.
t.setTimeout(900_000)

const plan: KernelBenchPlan = {
  shape: 'daybreak-mini',
  kinds: ['linear', 'attention', 'rowwise', 'sampling'],
  rows: [1, 5],
  contexts: [40],
  batches: [2],
  shared: undefined,
  dtype: 'f32',
  deterministic: false,
  tuningFolder: undefined,
  tune: false,
  onProgress: () => {}
}

async function open (): Promise<KernelBench | string> {
  try {
    const bench = await openKernelBench(undefined)
    t.teardown(() => bench[Symbol.asyncDispose]())
    return bench
  } catch (error) {
    const { CI } = process.env
    if (CI === 'true' || !(error instanceof NoAdapterError)) throw error
    return error.message
  }
}

const bench = await open()
const skip = typeof bench === 'string' ? bench : false

t.test('every kernel of a step is measured at every size, as the variant that the engine chooses', { skip }, async t => {
  if (typeof bench === 'string') return
  const progress: Array<readonly [number, number]> = []
  const { ceilings, kernels, dtype } = await bench.run({ ...plan, onProgress: (done, total) => { progress.push([done, total]) } })
  t.equal(dtype, 'f32')
  const { int8, ...always } = ceilings
  t.ok(int8 === undefined || int8.opsPerSecond > 0)
  for (const [name, ceiling] of Object.entries(always)) t.ok(typeof ceiling === 'string' || ceiling > 0, `${name}: ${ceiling}`)
  t.match(ceilings.productKernel, /^matmul_fma_store/)
  const sizes = (kind: KernelMeasurement['kind']): string[] => kernels.filter(kernel => kernel.kind === kind).map(({ label, rows, context }) => `${label} ${rows}${context === undefined ? '' : ` ${context}`}`).sort()
  t.strictSame(sizes('linear'), ['down', 'gate_up', 'head', 'output', 'qkv'].flatMap(label => [`${label} 1`, `${label} 5`]))
  t.strictSame(sizes('attention'), ['attention_reduce 2 40', 'attention_split 2 40', 'attention_tile 40 40'])
  // The norm before the MLP is the same kernel on as much as the one before attention, which several rows of the first layer have with their embedding.
  t.strictSame(sizes('rowwise'), ['attention_norm 1', 'embedding 1', 'embedding normed 5', 'final_norm 1', 'final_norm 5', 'mlp_norm 5', 'rope_kv_write 1', 'rope_kv_write 5'])
  t.strictSame(sizes('sampling'), ['sample_choose 2', 'sample_scan 2'])
  for (const { label, kernel, seconds, minSeconds, maxSeconds, skipped, copies } of kernels) {
    t.ok(skipped === undefined && kernel !== '' && minSeconds > 0 && minSeconds <= seconds && seconds <= maxSeconds && copies >= 1, `${label} ${kernel} ${seconds}`)
  }
  const qkv = kernels.filter(({ label }) => label === 'qkv')
  t.strictSame(qkv.map(({ weight, flops }) => [weight, flops]), [1, 5].map(rows => [{ outputs: 640, inputs: 384 }, 2 * rows * 640 * 384]))
  t.not(qkv[0]?.kernel, qkv[1]?.kernel, 'one row and five are different variants')
  const [done, total] = progress.at(-1) ?? []
  t.equal(done, total)
})

t.test('a shape that nobody knows and a context that the shape does not have are refused by name', { skip }, async t => {
  if (typeof bench === 'string') return
  await t.rejects(bench.run({ ...plan, shape: 'gpt-9' }), { code: 'ENGINE_UNKNOWN_MODEL_SHAPE' })
  await t.rejects(bench.run({ ...plan, contexts: [8193] }), { code: 'ENGINE_UNSUPPORTED_MODEL', details: { field: '--contexts', value: 8193 } })
})

t.test('a pass of its own takes time', { skip }, async t => {
  await using gpu = await GpuDevice.open({ profile: 'production' })
  const seconds = await measurePassSeconds(gpu)
  t.ok(seconds > 0, `${seconds}`)
})
