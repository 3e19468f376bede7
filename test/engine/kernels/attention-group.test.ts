import { attentionGroupKernel } from '../../../packages/engine/src/kernels/attention/attention-group.ts'
import { attentionSplit } from '../../../packages/engine/src/kernels/attention/attention-order.ts'
import type { AttentionTileShape } from '../../../packages/engine/src/kernels/attention/attention-rows.ts'
import { attentionSplitKernel } from '../../../packages/engine/src/kernels/attention/attention-split.ts'
import { attentionReduce } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { F32_ROUNDING, assertClose, assertSameBits } from './assert-close.ts'
import { expected, groupedSingles, makeScene, queriesFor, tableWords } from './attention-scene.ts'
import type { Alike, AttendingModel, Scene } from './attention-scene.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'

const SEED = 20261128
const gpu = await GpuHarness.open()

interface Model extends AttendingModel, Omit<AttentionTileShape, 'capped' | 'rolled'> {}

/** The last token of every sequence, where those of `alike` attend their first keys together. */
async function attend (gpu: GpuHarness, scene: Scene<Model>, kv: GPUBuffer, queries: Float64Array, alike: readonly Alike[]): Promise<GPUBuffer> {
  const { model, shape, storage } = scene
  const numHeads = model.group * model.numKVHeads
  const { singles, groups, mostSplits, numPartials } = groupedSingles(scene, alike, { splitKeys: attentionSplit, groupKeys: attentionSplit, size: model.queries })
  const step = await gpu.step({ singles, groups, tables: tableWords(scene).words })
  const partials = { partial_out: await gpu.poisoned(numPartials * numHeads * model.headDim, 'f32'), partial_max_sum: await gpu.poisoned(numPartials * numHeads * 2, 'f32') }
  const q = await gpu.upload(queries, 'f32')
  const y = await gpu.poisoned(queries.length, 'f32')
  const variant = { ...model, capped: model.softcap !== undefined, rolled: gpu.device.capabilities.software }
  const overrides = { NUM_KV_HEADS: model.numKVHeads, BLOCK_SIZE: shape.blockSize, WINDOW: model.window ?? 0, SOFTCAP: model.softcap ?? 1 }
  if (groups.length > 0) await gpu.run(attentionGroupKernel(variant), { storage, overrides, buffers: { q, kv, step, ...partials }, grid: [groups.length + 1, model.numKVHeads, 1] })
  await gpu.run(attentionSplitKernel(variant), { storage, overrides, buffers: { q, kv, step, ...partials }, grid: [mostSplits + 1, model.numKVHeads, singles.length + 1] })
  await gpu.run(attentionReduce, { storage, overrides: { NUM_HEADS: numHeads, HEAD_DIM: model.headDim, WINDOW: model.window ?? 0 }, buffers: { ...partials, step, y }, grid: [numHeads, singles.length + 1, 1] })
  return y
}

// Two groups, the first of more members than a workgroup takes, one of whose own part is a single token; between them rows that share nothing.
const LENGTHS = [257, 300, 40, 513, 290, 1, 129, 200, 260, 128, 385]
const ALIKE: readonly Alike[] = [{ sequences: [0, 1, 3, 4, 8], keys: 256 }, { sequences: [6, 7], keys: 128 }]

const models: readonly Model[] = [
  { headDim: 32, group: 3, numKVHeads: 2, threads: 64, queries: 4, staged: 64 },
  { headDim: 64, group: 4, numKVHeads: 1, threads: 64, queries: 4, staged: 64 },
  { headDim: 48, group: 1, numKVHeads: 2, threads: 64, queries: 3, staged: 128, softcap: 1.5 },
  { headDim: 128, group: 8, numKVHeads: 1, threads: 64, queries: 2, staged: 16 },
  { headDim: 32, group: 2, numKVHeads: 2, threads: 64, queries: 4, staged: 64, window: 1 },
  // Windows that begin within the first and the second split of a prefix, in another place for each member, and behind it for some.
  { headDim: 32, group: 2, numKVHeads: 2, threads: 64, queries: 4, staged: 64, window: 60 },
  { headDim: 32, group: 2, numKVHeads: 2, threads: 64, queries: 4, staged: 64, window: 230, softcap: 1.5 },
  { headDim: 32, group: 2, numKVHeads: 2, threads: 64, queries: 4, staged: 64, window: 600 }
]

for (const [i, model] of models.entries()) {
  const storage = i % 4 === 1 ? 'f16' : 'f32'
  const name = `head dim ${model.headDim}, ${model.group} query head(s) on a KV head, groups of ${model.queries}, ${storage}${model.window === undefined ? '' : `, a window of ${model.window}`}`
  gpuTest(`rows that share keys have the bits that they have apart, and equal the reference: ${name}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED + i}`)
    const random = new SeededRandom(SEED + i)
    const scene = makeScene(random, model, storage, LENGTHS, { alike: ALIKE })
    const kv = await gpu.upload(scene.cache, storage)
    const queries = queriesFor(random, model, LENGTHS.length)
    const together = await attend(gpu, scene, kv, queries, ALIKE)
    const apart = await attend(gpu, scene, kv, queries, [])
    assertSameBits(t, await gpu.bits(together, queries.length, 'f32'), await gpu.bits(apart, queries.length, 'f32'), 'together and apart')
    const reference = expected(scene, queries, LENGTHS.map((length, sequence) => ({ sequence, start: length - 1, count: 1 })))
    // As in attention.test.ts: a rounding of f32 for each key and dimension, and some for exponentials.
    assertClose(t, await gpu.download(together, queries.length, 'f32'), reference, () => (513 + model.headDim + 32) * F32_ROUNDING * 6, 'together')
  })
}

gpuTest('blocks that no split is a multiple of are shared as far as whole splits go', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const model: Model = { headDim: 32, group: 3, numKVHeads: 2, threads: 64, queries: 4, staged: 64 }
  const lengths = [300, 280, 270, 20]
  const scene = makeScene(random, model, 'f32', lengths, { blockSize: 24, alike: [{ sequences: [0, 1, 2], keys: 264 }] })
  const kv = await gpu.upload(scene.cache, 'f32')
  const queries = queriesFor(random, model, lengths.length)
  const together = await attend(gpu, scene, kv, queries, [{ sequences: [0, 1, 2], keys: 256 }])
  assertSameBits(t, await gpu.bits(together, queries.length, 'f32'), await gpu.bits(await attend(gpu, scene, kv, queries, []), queries.length, 'f32'), 'together and apart')
})
