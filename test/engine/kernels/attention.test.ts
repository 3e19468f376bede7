import type { StorageType } from '../../../packages/engine/src/engine.ts'
import { attentionSplit } from '../../../packages/engine/src/kernels/attention/attention-order.ts'
import { attentionSplitKernel } from '../../../packages/engine/src/kernels/attention/attention-split.ts'
import { attentionTileKernel } from '../../../packages/engine/src/kernels/attention/attention-tile.ts'
import type { AttentionTileShape } from '../../../packages/engine/src/kernels/attention/attention-rows.ts'
import { attentionReduce } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { F16_ROUNDING, F16_SMALLEST, F32_ROUNDING, assertClose, assertSameBits } from './assert-close.ts'
import { expected, makeScene, numTokens, queriesFor, rowWidth, singlesOf, tableWords, tilesOf } from './attention-scene.ts'
import type { AttendingModel, Chunk, Scene } from './attention-scene.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'

const SEED = 20260705
const gpu = await GpuHarness.open()
// One key, both sides of a block of 16, of a run of 32, of a split of 128 and of two, and five splits.
const CONTEXTS = [1, 15, 16, 17, 31, 33, 127, 128, 129, 255, 256, 257, 513]

interface Model extends AttendingModel, Omit<AttentionTileShape, 'capped' | 'rolled'> {}
interface Run { readonly gpu: GpuHarness, readonly scene: Scene<Model>, readonly kv: GPUBuffer, readonly queries: Float64Array, readonly chunks: readonly Chunk[], readonly activation?: StorageType }

/** Attends every chunk in the tile form. */
async function attendTiles ({ gpu, scene, kv, queries, chunks, activation = 'f32' }: Run): Promise<GPUBuffer> {
  const { model, shape, storage } = scene
  const tiles = tilesOf(scene, chunks, model.queries)
  const y = await gpu.poisoned(queries.length, activation)
  await gpu.run(attentionTileKernel({ ...model, capped: model.softcap !== undefined, rolled: gpu.device.capabilities.software }), {
    storage,
    activation,
    overrides: { NUM_KV_HEADS: model.numKVHeads, BLOCK_SIZE: shape.blockSize, WINDOW: model.window ?? 0, SOFTCAP: model.softcap ?? 1 },
    buffers: { q: await gpu.upload(queries, activation), kv, step: await gpu.step({ tiles, tables: tableWords(scene).words }), y },
    grid: [model.numKVHeads, tiles.length + 1, 1]
  })
  return y
}

/** Attends every query token by itself, split by split, and reduces. */
async function attendSingles ({ gpu, scene, kv, queries, chunks, activation = 'f32' }: Run): Promise<GPUBuffer> {
  const { model, shape, storage } = scene
  const numHeads = model.group * model.numKVHeads
  const { singles, mostSplits, numSplits } = singlesOf(scene, chunks, attentionSplit)
  const step = await gpu.step({ splitKeys: attentionSplit, singles, tables: tableWords(scene).words })
  const partialOut = await gpu.poisoned(numSplits * numHeads * model.headDim, 'f32')
  const partialMaxSum = await gpu.poisoned(numSplits * numHeads * 2, 'f32')
  const y = await gpu.poisoned(queries.length, activation)
  await gpu.run(attentionSplitKernel({ ...model, capped: model.softcap !== undefined, rolled: gpu.device.capabilities.software }), {
    storage,
    activation,
    overrides: { NUM_KV_HEADS: model.numKVHeads, BLOCK_SIZE: shape.blockSize, WINDOW: model.window ?? 0, SOFTCAP: model.softcap ?? 1 },
    buffers: { q: await gpu.upload(queries, activation), kv, step, partial_out: partialOut, partial_max_sum: partialMaxSum },
    grid: [mostSplits + 1, model.numKVHeads, singles.length + 1]
  })
  await gpu.run(attentionReduce, {
    storage,
    activation,
    overrides: { NUM_HEADS: numHeads, HEAD_DIM: model.headDim, WINDOW: model.window ?? 0 },
    buffers: { partial_out: partialOut, partial_max_sum: partialMaxSum, step, y },
    grid: [numHeads, singles.length + 1, 1]
  })
  return y
}

/**
 * Weights are off by the rounding of a score (headDim products of size about 1) and of exp; the chains over l and o round once a
 * key, by 2⁻²⁴ of at most the largest |value| < 6. A key too many or too few moves the result by more: 1/513 of a value.
 */
const tolerance = ({ headDim }: Model): number => (513 + headDim + 32) * F32_ROUNDING * 6

// Every head dimension and every group, not their product: a software adapter compiles each for seconds. 64 and 128 threads, 16 to 128 staged keys;
// tiles of one query token, and of rows that the threads' teams do not divide.
const models: readonly Model[] = [
  { headDim: 32, group: 1, numKVHeads: 2, threads: 64, queries: 8, staged: 128 },
  { headDim: 32, group: 8, numKVHeads: 1, threads: 128, queries: 1, staged: 64 },
  { headDim: 48, group: 2, numKVHeads: 2, threads: 64, queries: 4, staged: 64 },
  { headDim: 64, group: 3, numKVHeads: 2, threads: 64, queries: 2, staged: 64 },
  { headDim: 64, group: 4, numKVHeads: 1, threads: 64, queries: 4, staged: 64 },
  { headDim: 128, group: 2, numKVHeads: 1, threads: 64, queries: 2, staged: 64 },
  { headDim: 128, group: 8, numKVHeads: 1, threads: 64, queries: 1, staged: 16 }
]

for (const [i, model] of models.entries()) {
  const storage = (model.headDim === 128 ? model.staged === 64 : i % 3 === 1) ? 'f16' : 'f32'
  const name = `head dim ${model.headDim}, ${model.group} query head(s) on a KV head, tiles of ${model.queries}, ${model.threads} threads, ${storage}`
  gpuTest(`attention in both forms equals the reference and each other's bits: ${name}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED + i}`)
    const random = new SeededRandom(SEED + i)
    const scene = makeScene(random, model, storage, CONTEXTS)
    const kv = await gpu.upload(scene.cache, storage)
    // Each sequence's last token, then chunks from the start, across a split's border, and of one token more than a tile.
    const chunks: Chunk[] = [
      ...CONTEXTS.map((length, sequence) => ({ sequence, start: length - 1, count: 1 })),
      { sequence: 3, start: 0, count: 17 },
      { sequence: 12, start: 250, count: 9 },
      { sequence: 8, start: 118, count: 11 }
    ]
    const queries = queriesFor(random, model, numTokens(chunks))
    const reference = expected(scene, queries, chunks)
    const run = { gpu, scene, kv, queries, chunks }
    const tiles = await attendTiles(run)
    const singles = await attendSingles(run)
    assertClose(t, await gpu.download(tiles, queries.length, 'f32'), reference, () => tolerance(model), 'tile form')
    assertClose(t, await gpu.download(singles, queries.length, 'f32'), reference, () => tolerance(model), 'split and reduce')
    assertSameBits(t, await gpu.bits(tiles, queries.length, 'f32'), await gpu.bits(singles, queries.length, 'f32'), 'tile form and split form')
  })
}

// Windows of one key, on both sides of a split and of two, and one that no context here fills; with a soft-cap that bends most scores.
for (const [window, softcap] of [[1, undefined], [24, 1.5], [128, undefined], [129, undefined], [600, undefined]] as const) {
  gpuTest(`a window of ${window} keys hides what lies before it, in both forms alike${softcap === undefined ? '' : ', and scores are soft-capped'}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED + window}`)
    const random = new SeededRandom(SEED + window)
    const model: Model = { headDim: 32, group: 2, numKVHeads: 2, threads: 64, queries: 4, staged: 64, window, ...softcap === undefined ? {} : { softcap } }
    const scene = makeScene(random, model, 'f32', CONTEXTS)
    const kv = await gpu.upload(scene.cache, 'f32')
    const chunks: Chunk[] = [
      ...CONTEXTS.map((length, sequence) => ({ sequence, start: length - 1, count: 1 })),
      { sequence: 12, start: 0, count: 3 },
      { sequence: 12, start: 22, count: 9 },
      { sequence: 12, start: 250, count: 14 },
      { sequence: 12, start: 383, count: 5 }
    ]
    const queries = queriesFor(random, model, numTokens(chunks))
    const reference = expected(scene, queries, chunks)
    const run = { gpu, scene, kv, queries, chunks }
    const [tiles, singles] = [await attendTiles(run), await attendSingles(run)]
    assertClose(t, await gpu.download(tiles, queries.length, 'f32'), reference, () => tolerance(model), 'tile form')
    assertClose(t, await gpu.download(singles, queries.length, 'f32'), reference, () => tolerance(model), 'split and reduce')
    assertSameBits(t, await gpu.bits(tiles, queries.length, 'f32'), await gpu.bits(singles, queries.length, 'f32'), 'tile form and split form')
  })
}

gpuTest('however a prompt is cut into chunks, and whoever else is in the batch, a token\'s attention has the same bits', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const model: Model = { headDim: 64, group: 3, numKVHeads: 2, threads: 64, queries: 2, staged: 64 }
  const scene = makeScene(random, model, 'f32', [135, 40])
  const kv = await gpu.upload(scene.cache, 'f32')
  const queries = queriesFor(random, model, 135)
  const width = rowWidth(model)
  const whole = await gpu.bits(await attendTiles({ gpu, scene, kv, queries, chunks: [{ sequence: 0, start: 0, count: 135 }] }), queries.length, 'f32')
  const cuts: ReadonlyArray<readonly number[]> = [[7, 115, 13], [128, 7], [127, 1, 7], [1, 134]]
  for (const sizes of cuts) {
    let start = 0
    for (const count of sizes) {
      const own = queries.slice(start * width, (start + count) * width)
      const neighbours = queriesFor(random, model, 40)
      const chunks = [{ sequence: 1, start: 0, count: 40 }, { sequence: 0, start, count }]
      const together = Float64Array.from([...neighbours, ...own])
      const bits = await gpu.bits(await attendTiles({ gpu, scene, kv, queries: together, chunks }), together.length, 'f32')
      assertSameBits(t, bits.subarray(neighbours.length), whole.subarray(start * width, (start + count) * width), `chunks ${sizes.join(' + ')}: tokens from ${start}`)
      start += count
    }
  }
})

gpuTest('attention follows a block size of 1 and one that no split is a multiple of, and stores f16 for a matrix product', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const model: Model = { headDim: 32, group: 1, numKVHeads: 2, threads: 64, queries: 8, staged: 128 }
  for (const [blockSize, activation] of [[1, 'f32'], [24, 'f16']] as const) {
    const scene = makeScene(random, model, 'f32', [260, 30], { blockSize })
    const chunks = [{ sequence: 1, start: 20, count: 10 }, { sequence: 0, start: 250, count: 10 }]
    const queries = queriesFor(random, model, numTokens(chunks), activation)
    const reference = expected(scene, queries, chunks)
    const run = { gpu, scene, kv: await gpu.upload(scene.cache, 'f32'), queries, chunks, activation }
    const allowed = (i: number): number => tolerance(model) + (activation === 'f16' ? Math.abs(reference[i] ?? NaN) * F16_ROUNDING + F16_SMALLEST : 0)
    assertClose(t, await gpu.download(await attendTiles(run), queries.length, activation), reference, allowed, `tile form, blocks of ${blockSize}`)
    assertClose(t, await gpu.download(await attendSingles(run), queries.length, activation), reference, allowed, `split and reduce, blocks of ${blockSize}`)
  }
})

gpuTest('scores far apart do not overflow: the largest decides', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const model: Model = { headDim: 32, group: 1, numKVHeads: 2, threads: 64, queries: 8, staged: 128 }
  const scene = makeScene(random, model, 'f32', [300])
  const chunks = [{ sequence: 0, start: 290, count: 10 }]
  const queries = queriesFor(random, model, 10).map(x => x * 500)
  const reference = expected(scene, queries, chunks)
  const run = { gpu, scene, kv: await gpu.upload(scene.cache, 'f32'), queries, chunks }
  // Scores reach thousands, so their f32 rounding is up to 32 · 2⁻²⁴ · 8,000 and weights are off by that share.
  for (const y of [await attendTiles(run), await attendSingles(run)]) {
    assertClose(t, await gpu.download(y, queries.length, 'f32'), reference, () => 32 * F32_ROUNDING * 8000 * 6, 'scores of thousands')
  }
})
