import t from 'tap'
import type { Test } from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { attentionMmaGroup } from '../../../packages/engine/src/kernels/attention/attention-mma-group.ts'
import { attentionMmaTile } from '../../../packages/engine/src/kernels/attention/attention-mma-tile.ts'
import { attentionVector } from '../../../packages/engine/src/kernels/attention/attention-vector.ts'
import type { AttentionVectorShape } from '../../../packages/engine/src/kernels/attention/attention-vector.ts'
import { attentionMerge } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { tileTokens } from '../../../packages/engine/src/layers/attention-plan.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { assertClose, assertSameBits } from './assert-close.ts'
import { expected, makeScene, numTokens, queriesFor, rowWidth, singlesOf, tableWords, tilesOf } from './attention-scene.ts'
import type { AttendingModel, Chunk, Scene, SceneOptions } from './attention-scene.ts'
import { gpuTest } from './gpu-harness.ts'
import type { GpuHarness } from './gpu-harness.ts'
import { GARBAGE, largeAdapter, matrixPlan, openMatrixGpu, planFor, settings, tolerance, uploadQueries } from './matrix-attention.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

const SEED = 20261127
// One key, both sides of a block of 16, of a run of 32, of 128 and of two, and many splits.
const CONTEXTS = [1, 15, 16, 17, 31, 33, 127, 128, 129, 255, 257, 513]

t.test('tensor-core attention is valid WGSL for every head dimension and group that takes it', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  for (const headDim of [32, 64, 80, 96, 128, 256]) {
    for (const group of [1, 2, 3, 4, 6, 7, 8]) {
      for (const softcap of [undefined, 50]) {
        const plan = planFor({ headDim, group, numKVHeads: 2, ...softcap === undefined ? {} : { softcap } }, largeAdapter)
        // Large heads of large groups fit no tile.
        t.equal(plan.type, headDim === 256 && group > 3 ? 'ordered' : 'matrix', `heads of ${headDim}, ${group} on a KV head`)
        if (plan.type !== 'matrix') continue
        for (const kernel of [attentionMmaTile(plan.tile), ...plan.splits.map(attentionVector), ...plan.groups.map(attentionMmaGroup)]) await assertValidWgsl(t, device, kernel)
      }
    }
  }
})

const gpu = await openMatrixGpu()

interface Run { readonly gpu: GpuHarness, readonly scene: Scene, readonly kv: GPUBuffer, readonly queries: Float64Array, readonly chunks: readonly Chunk[] }

/** Attends every chunk in the tile form. */
async function attendTiles ({ gpu, scene, kv, queries, chunks }: Run, tile = matrixPlan(scene.model, gpu).tile): Promise<GPUBuffer> {
  const tiles = tilesOf(scene, chunks, 16 * tile.tokenTiles)
  const y = await gpu.poisoned(queries.length, 'f16')
  await gpu.run(attentionMmaTile(tile), {
    storage: 'f16',
    activation: 'f16',
    overrides: settings(scene),
    buffers: { q: await uploadQueries(gpu, queries, 16 * tile.tokenTiles * rowWidth(scene.model)), kv, step: await gpu.step({ tiles, tables: tableWords(scene).words }), y },
    grid: [scene.model.numKVHeads, tiles.length + 1, 1]
  })
  return y
}

/** Attends every query token by itself in splits of `splitKeys`; rows of one split are finished at once, the others reduced. */
async function attendSingles ({ gpu, scene, kv, queries, chunks }: Run, splitKeys: number, split: AttentionVectorShape): Promise<GPUBuffer> {
  const { headDim, group, numKVHeads, window = 0 } = scene.model
  const numHeads = group * numKVHeads
  const { singles, mostSplits, numSplits } = singlesOf(scene, chunks, splitKeys)
  const step = await gpu.step({ splitKeys, singles, tables: tableWords(scene).words })
  const partials = { partial_out: await gpu.poisoned(numSplits * numHeads * headDim, 'f32'), partial_max_sum: await gpu.poisoned(numSplits * numHeads * 2, 'f32') }
  const y = await gpu.poisoned(queries.length, 'f16')
  await gpu.run(attentionVector(split), {
    storage: 'f16',
    activation: 'f16',
    overrides: settings(scene),
    buffers: { q: await uploadQueries(gpu, queries, 0), kv, step, ...partials, y },
    grid: [mostSplits + 1, numKVHeads, singles.length + 1]
  })
  await gpu.run(attentionMerge, {
    storage: 'f16',
    activation: 'f16',
    overrides: { NUM_HEADS: numHeads, HEAD_DIM: headDim, WINDOW: window },
    buffers: { ...partials, step, y },
    grid: [numHeads, singles.length + 1, 1]
  })
  return y
}

/** The tile form of `chunks`, and every token of `alone` by itself in splits of each of these lengths. */
async function check (t: Test, gpu: GpuHarness, scene: Scene, given: { readonly chunks: readonly Chunk[], readonly alone: readonly Chunk[], readonly splits: readonly number[], readonly queries: (count: number) => Float64Array }): Promise<void> {
  const kv = await gpu.upload(scene.cache, 'f16')
  const compare = async (chunks: readonly Chunk[], attend: (run: Run) => Promise<GPUBuffer>, name: string): Promise<void> => {
    const queries = given.queries(numTokens(chunks))
    const reference = expected(scene, queries, chunks)
    assertClose(t, await gpu.download(await attend({ gpu, scene, kv, queries, chunks }), queries.length, 'f16'), reference, tolerance(scene, queries, chunks, reference), name)
  }
  if (given.chunks.length > 0) await compare(given.chunks, attendTiles, 'tiles')
  // Every length of split and every number of subgroups, though not each with each.
  const { splits } = matrixPlan(scene.model, gpu)
  for (let i = 0; i < Math.max(splits.length, given.splits.length); i++) {
    const [split, splitKeys] = [splits[i % splits.length], given.splits[i % given.splits.length]]
    if (split === undefined || splitKeys === undefined) throw new Error('the plan has no splits')
    await compare(given.alone, run => attendSingles(run, splitKeys, split), `splits of ${splitKeys}, ${split.subgroups} subgroup(s)`)
  }
}

const models: readonly AttendingModel[] = [[32, 1], [64, 2], [64, 3], [64, 7], [80, 4], [96, 6], [128, 1], [128, 4], [128, 8], [256, 1], [256, 2]].map(([headDim = 0, group = 0]) => ({ headDim, group, numKVHeads: 2 }))

for (const [i, model] of models.entries()) {
  gpuTest(`attention on tensor cores equals the reference: head dim ${model.headDim}, ${model.group} query head(s) on a KV head`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED + i}`)
    const random = new SeededRandom(SEED + i)
    const tile = tileTokens(matrixPlan(model, gpu))
    // Tokens of several sequences, each its last; then a prompt's beginning of a tile and a token, and chunks in its middle.
    const last = CONTEXTS.map((length, sequence) => ({ sequence, start: length - 1, count: 1 }))
    await check(t, gpu, makeScene(random, model, 'f16', CONTEXTS, { spare: GARBAGE }), {
      chunks: [...last, { sequence: 3, start: 0, count: 17 }, { sequence: 11, start: 0, count: tile + 1 }, { sequence: 11, start: 250, count: tile - 1 }, { sequence: 8, start: 118, count: 11 }],
      alone: [...last, { sequence: 11, start: 250, count: 9 }],
      splits: [32, 160, 1024],
      queries: count => queriesFor(random, model, count, 'f16')
    })
  })
}

// Windows of one key, within a run, on both sides of a split of 128, and one that no context here fills; soft-caps that bend most scores.
for (const [window, softcap] of [[1, undefined], [24, 1.5], [128, undefined], [129, 30], [600, undefined], [undefined, 1.5]] as const) {
  gpuTest(`on tensor cores ${window === undefined ? 'every key is seen' : `a window of ${window} keys hides what lies before it`}${softcap === undefined ? '' : `, and scores are capped at ${softcap}`}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const model: AttendingModel = { headDim: 64, group: 2, numKVHeads: 2, ...window === undefined ? {} : { window }, ...softcap === undefined ? {} : { softcap } }
    const last = CONTEXTS.map((length, sequence) => ({ sequence, start: length - 1, count: 1 }))
    await check(t, gpu, makeScene(random, model, 'f16', CONTEXTS, { spare: GARBAGE }), {
      chunks: [...last, { sequence: 11, start: 0, count: 40 }, { sequence: 11, start: 120, count: 70 }, { sequence: 11, start: 383, count: 5 }],
      alone: [...last, { sequence: 11, start: 250, count: 14 }],
      splits: [32, 128, 1024],
      queries: count => queriesFor(random, model, count, 'f16')
    })
  })
}

/** Scores of a query that begins with 1. Where they rise, references must follow; where they fall, weights die out. */
const planted: Readonly<Record<string, (position: number) => number>> = {
  'a huge score among the last keys takes all weight from those before': position => position >= 298 ? 150 : 0,
  'a huge score among the first keys leaves none to those behind': position => position === 2 ? 150 : 0,
  'scores that rise by less than the headroom within a run, and beyond it over all': position => position / 5 - 30,
  'scores that rise within every run by more than the headroom': position => position * 0.5 - 75,
  'scores that fall': position => 75 - position * 0.5,
  'scores that all lie far below zero': () => -2000,
  'scores that jump up and down': position => position % 37 === 5 ? 9 + position / 4 : -position % 11
}

for (const [name, plant] of Object.entries(planted)) {
  gpuTest(`on tensor cores, as in the reference: ${name}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const model of [{ headDim: 64, group: 4, numKVHeads: 1 }, { headDim: 128, group: 1, numKVHeads: 2 }]) {
      // Neighbouring rows lie far apart: one's scores rise where another's fall, and are eight times as large.
      const firsts = [1, -1, 8, 0.25, -8, 2]
      const queries = (count: number): Float64Array => queriesFor(random, model, count, 'f16').map((value, i) => i % model.headDim === 0 ? firsts[i / model.headDim % firsts.length] ?? 1 : value)
      await check(t, gpu, makeScene(random, model, 'f16', [300, 45], { spare: GARBAGE, plant }), {
        chunks: [{ sequence: 0, start: 255, count: 45 }, { sequence: 1, start: 0, count: 45 }, { sequence: 0, start: 0, count: 33 }],
        alone: [{ sequence: 0, start: 290, count: 10 }, { sequence: 1, start: 30, count: 3 }],
        splits: [32, 128, 512],
        queries
      })
    }
  })
}

gpuTest('a split is attended by any number of subgroups, those that find no keys included', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 1)
  for (const [group, subgroups] of [[4, 2], [4, 4], [1, 8], [7, 2]] as const) {
    const model: AttendingModel = { headDim: 64, group, numKVHeads: 2 }
    const options: SceneOptions = { spare: GARBAGE, plant: position => position / 8 }
    const scene = makeScene(random, model, 'f16', [300, 33, 1], options)
    const chunks = [{ sequence: 0, start: 290, count: 10 }, { sequence: 1, start: 30, count: 3 }, { sequence: 2, start: 0, count: 1 }]
    const queries = queriesFor(random, model, numTokens(chunks), 'f16')
    const reference = expected(scene, queries, chunks)
    const run = { gpu, scene, kv: await gpu.upload(scene.cache, 'f16'), queries, chunks }
    for (const splitKeys of [64, 512]) {
      const y = await attendSingles(run, splitKeys, { headDim: 64, group, subgroups, capped: false, subgroup: 32 })
      assertClose(t, await gpu.download(y, queries.length, 'f16'), reference, tolerance(scene, queries, chunks, reference), `${group} heads, ${subgroups} subgroup(s), splits of ${splitKeys}`)
    }
  }
})

gpuTest('attention on tensor cores follows larger blocks, and another number of keys and tokens at a time', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 2)
  const model: AttendingModel = { headDim: 64, group: 2, numKVHeads: 2 }
  for (const blockSize of [32, 48]) {
    const scene = makeScene(random, model, 'f16', [260, 30], { blockSize, spare: GARBAGE })
    const chunks = [{ sequence: 1, start: 20, count: 10 }, { sequence: 0, start: 220, count: 40 }]
    const queries = queriesFor(random, model, numTokens(chunks), 'f16')
    const reference = expected(scene, queries, chunks)
    const allowed = tolerance(scene, queries, chunks, reference)
    const run = { gpu, scene, kv: await gpu.upload(scene.cache, 'f16'), queries, chunks }
    for (const [tokenTiles, keys] of [[1, 16], [1, 64], [2, 32]] as const) {
      const y = await attendTiles(run, { ...matrixPlan(model, gpu).tile, tokenTiles, keys })
      assertClose(t, await gpu.download(y, queries.length, 'f16'), reference, allowed, `${16 * tokenTiles} tokens, ${keys} keys, blocks of ${blockSize}`)
    }
    assertClose(t, await gpu.download(await attendSingles(run, 96, { headDim: 64, group: 2, subgroups: 2, capped: false, subgroup: 32 }), queries.length, 'f16'), reference, allowed, `splits, blocks of ${blockSize}`)
  }
})

gpuTest('in the tile form a token\'s attention has the same bits, however its prompt is cut and whoever else is in the batch', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 3)
  const model: AttendingModel = { headDim: 64, group: 3, numKVHeads: 2 }
  const scene = makeScene(random, model, 'f16', [135, 40], { spare: GARBAGE, plant: position => position / 6 })
  const kv = await gpu.upload(scene.cache, 'f16')
  const queries = queriesFor(random, model, 135, 'f16')
  const width = rowWidth(model)
  const whole = await gpu.bits(await attendTiles({ gpu, scene, kv, queries, chunks: [{ sequence: 0, start: 0, count: 135 }] }), queries.length, 'f16')
  for (const sizes of [[7, 115, 13], [128, 7], [1, 134]]) {
    let start = 0
    for (const count of sizes) {
      const neighbours = queriesFor(random, model, 40, 'f16')
      const together = Float64Array.from([...neighbours, ...queries.slice(start * width, (start + count) * width)])
      const chunks = [{ sequence: 1, start: 0, count: 40 }, { sequence: 0, start, count }]
      const bits = await gpu.bits(await attendTiles({ gpu, scene, kv, queries: together, chunks }), together.length, 'f16')
      assertSameBits(t, bits.subarray(neighbours.length / 2), whole.subarray(start * width / 2, (start + count) * width / 2), `chunks ${sizes.join(' + ')}: tokens from ${start}`)
      start += count
    }
  }
})
