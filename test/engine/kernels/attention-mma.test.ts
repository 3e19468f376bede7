import t from 'tap'
import type { Test } from 'tap'
import type { DeviceCapabilities } from '../../../packages/engine/src/device/device-capabilities.ts'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { attentionMmaSplit } from '../../../packages/engine/src/kernels/attention/attention-mma-split.ts'
import type { AttentionMmaSplitShape } from '../../../packages/engine/src/kernels/attention/attention-mma-split.ts'
import { attentionMmaTile } from '../../../packages/engine/src/kernels/attention/attention-mma-tile.ts'
import { attentionMerge } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { shaderPrelude } from '../../../packages/engine/src/kernels/shader-source.ts'
import { planAttention, tileTokens } from '../../../packages/engine/src/layers/attention-plan.ts'
import type { AttentionPlan } from '../../../packages/engine/src/layers/attention-plan.ts'
import { namedShape } from '../../../packages/engine/src/models/named-shapes.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { float16Bits } from '../../reference/float16.ts'
import { pagedKVStart, slotOf } from '../../reference/paged-kv.ts'
import { F16_ROUNDING, F16_SMALLEST, assertClose, assertSameBits } from './assert-close.ts'
import { expected, makeScene, numTokens, queriesFor, rowWidth, singlesOf, tableWords, tilesOf, withMagnitudes } from './attention-scene.ts'
import type { AttendingModel, Chunk, Scene, SceneOptions } from './attention-scene.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'

const SEED = 20261127
/** Finite, as whatever a slot held before: only its weight keeps it out. */
const GARBAGE = 60_000
// One key, both sides of a block of 16, of a run of 32, of 128 and of two, and many splits.
const CONTEXTS = [1, 15, 16, 17, 31, 33, 127, 128, 129, 255, 257, 513]

type MatrixPlan = Extract<AttentionPlan, { type: 'matrix' }>

const adapter: DeviceCapabilities = {
  f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 48 << 10
}

function planFor ({ headDim, group, numKVHeads, softcap }: AttendingModel, capabilities: DeviceCapabilities): AttentionPlan {
  const shape = namedShape('daybreak-mini')
  const config = { ...shape, headDim, numHeads: group * numKVHeads, numKVHeads, attention: { ...shape.attention, softcap } }
  return planAttention(config, 'f16', capabilities, { tensorCores: true, deterministic: false, blockSize: 16 })
}

function matrixPlan (model: AttendingModel, gpu: GpuHarness): MatrixPlan {
  const plan = planFor(model, gpu.device.capabilities)
  if (plan.type !== 'matrix') throw new Error(`heads of ${model.headDim}, ${model.group} on a KV head, are not attended on tensor cores`)
  return plan
}

t.test('tensor-core attention is valid WGSL for every head dimension and group that takes it', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  for (const headDim of [32, 64, 80, 96, 128, 256]) {
    for (const group of [1, 2, 3, 4, 6, 7, 8]) {
      for (const softcap of [undefined, 50]) {
        const plan = planFor({ headDim, group, numKVHeads: 2, ...softcap === undefined ? {} : { softcap } }, adapter)
        // Large heads of large groups fit no tile.
        t.equal(plan.type, headDim === 256 && group > 3 ? 'ordered' : 'matrix', `heads of ${headDim}, ${group} on a KV head`)
        if (plan.type !== 'matrix') continue
        for (const { name, wgsl } of [attentionMmaTile(plan.tile), attentionMmaSplit(plan.split), attentionMmaSplit({ ...plan.split, subgroups: 4 }), attentionMmaSplit({ ...plan.split, group: group + 8 })]) {
          const code = shaderPrelude({ ...device.capabilities, f16: true, subgroups: true }, 'f16', 'f16', wgsl) + wgsl
          const { messages } = await device.device.createShaderModule({ code }).getCompilationInfo()
          t.strictSame(messages.filter(({ type }) => type === 'error').map(({ lineNum, message }) => `${lineNum}: ${message}`), [], name)
        }
      }
    }
  }
})

const opened = await GpuHarness.open()
const gpu = 'missing' in opened || (opened.device.capabilities.subgroupMatrix && opened.device.report.subgroupMaxSize === 32)
  ? opened
  : { missing: `${opened.device.report.name} has no 16 × 16 × 16 tensor-core products by subgroups of 32` }

interface Run { readonly gpu: GpuHarness, readonly scene: Scene, readonly kv: GPUBuffer, readonly queries: Float64Array, readonly chunks: readonly Chunk[] }

const settings = ({ model, shape }: Scene) => ({ NUM_KV_HEADS: model.numKVHeads, BLOCK_SIZE: shape.blockSize, WINDOW: model.window ?? 0, SOFTCAP: model.softcap ?? 1 })

/** Queries as f16, followed by as many NaN as a kernel reads past the last: what it computes of them must reach nobody. */
async function uploadQueries (gpu: GpuHarness, queries: Float64Array, padding: number): Promise<GPUBuffer> {
  const q = await gpu.poisoned(queries.length + padding, 'f16')
  gpu.device.queue.writeBuffer(q, 0, Uint16Array.from(queries, float16Bits))
  return q
}

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
async function attendSingles ({ gpu, scene, kv, queries, chunks }: Run, splitKeys: number, split: AttentionMmaSplitShape = matrixPlan(scene.model, gpu).split): Promise<GPUBuffer> {
  const { headDim, group, numKVHeads, window = 0 } = scene.model
  const numHeads = group * numKVHeads
  const { singles, mostSplits, numSplits } = singlesOf(scene, chunks, splitKeys)
  const step = await gpu.step({ splitKeys, singles, tables: tableWords(scene).words })
  const partials = { partial_out: await gpu.poisoned(numSplits * numHeads * headDim, 'f32'), partial_max_sum: await gpu.poisoned(numSplits * numHeads * 2, 'f32') }
  const y = await gpu.poisoned(queries.length, 'f16')
  await gpu.run(attentionMmaSplit(split), {
    storage: 'f16',
    activation: 'f16',
    overrides: settings(scene),
    buffers: { q: await uploadQueries(gpu, queries, 16 * headDim), kv, step, ...partials, y },
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

/**
 * How far an output may stray. Weights are stored as f16, once rounded, 2⁻¹¹ of each, while their sum is not: at most that share of
 * Σ weight · |value| / Σ weight. Those below f16's normal numbers lose 2⁻²⁵, beside a sum of at least one. A score is off by 2⁻²² of
 * |q| · |k| for each sixteen of the head's dimension, tanh by 10⁻⁵ and exp by 2⁻¹⁷ where it matters; a weight is off by as large a
 * share, above and below the line. Outputs are stored as f16.
 */
function tolerance (scene: Scene, queries: Float64Array, chunks: readonly Chunk[], reference: Float64Array): (i: number) => number {
  const { headDim, softcap = 0 } = scene.model
  const magnitudes = expected(withMagnitudes(scene), queries, chunks)
  const longestKey = longestKeyOf(scene)
  const keys = Math.max(...scene.lengths)
  return i => {
    const query = queries.subarray(i - i % headDim, i - i % headDim + headDim)
    const score = (headDim / 16 + 3) * 2 ** -22 * Math.hypot(...query) * longestKey + 1e-5 * softcap
    const share = F16_ROUNDING + 2 * (score + 2 ** -17) + (keys / 16 + 8) * 2 ** -22
    return (magnitudes[i] ?? NaN) * share + Math.abs(reference[i] ?? NaN) * F16_ROUNDING + keys * 2 ** -25 * 6 + F16_SMALLEST
  }
}

function longestKeyOf ({ cache, shape, tables, lengths }: Scene): number {
  let longest = 0
  lengths.forEach((length, sequence) => {
    for (let position = 0; position < length; position++) {
      for (let head = 0; head < shape.numKVHeads; head++) {
        const from = pagedKVStart(shape, slotOf(tables[sequence] ?? [], position, shape.blockSize), 'key', head)
        longest = Math.max(longest, Math.hypot(...cache.subarray(from, from + shape.headDim)))
      }
    }
  })
  return longest
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
  for (const splitKeys of given.splits) await compare(given.alone, run => attendSingles(run, splitKeys), `splits of ${splitKeys}`)
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

gpuTest('a split is attended by several subgroups, and by heads of up to sixteen to a KV head', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 1)
  for (const [group, subgroups] of [[4, 2], [4, 4], [12, 1], [16, 2]] as const) {
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
    assertClose(t, await gpu.download(await attendSingles(run, 96), queries.length, 'f16'), reference, allowed, `splits, blocks of ${blockSize}`)
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
