import { attentionMmaGroup, attentionMmaGroupMembers } from '../../../packages/engine/src/kernels/attention/attention-mma-group.ts'
import type { AttentionMmaGroupShape } from '../../../packages/engine/src/kernels/attention/attention-mma-group.ts'
import { attentionVector } from '../../../packages/engine/src/kernels/attention/attention-vector.ts'
import { attentionMerge } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { assertClose } from './assert-close.ts'
import { expected, groupedSingles, makeScene, queriesFor, tableWords } from './attention-scene.ts'
import type { Alike, AttendingModel, Scene, SceneOptions } from './attention-scene.ts'
import { gpuTest } from './gpu-harness.ts'
import type { GpuHarness } from './gpu-harness.ts'
import { GARBAGE, matrixPlan, openMatrixGpu, settings, tolerance, uploadQueries } from './matrix-attention.ts'

const SEED = 20261129
const gpu = await openMatrixGpu()

interface Parts { readonly splitKeys: number, readonly groupKeys: number }

/** The last token of every sequence, those of `alike` attending their first keys together. */
async function attend (gpu: GpuHarness, scene: Scene, queries: Float64Array, alike: readonly Alike[], { splitKeys, groupKeys }: Parts, variant: AttentionMmaGroupShape): Promise<GPUBuffer> {
  const { headDim, group, numKVHeads, window = 0 } = scene.model
  const numHeads = group * numKVHeads
  const { singles, groups, mostSplits, numPartials } = groupedSingles(scene, alike, { splitKeys, groupKeys, size: attentionMmaGroupMembers(variant) })
  const step = await gpu.step({ splitKeys, groupKeys, singles, groups, tables: tableWords(scene).words })
  const partials = { partial_out: await gpu.poisoned(numPartials * numHeads * headDim, 'f32'), partial_max_sum: await gpu.poisoned(numPartials * numHeads * 2, 'f32') }
  const inputs = { q: await uploadQueries(gpu, queries, 16 * headDim), kv: await gpu.upload(scene.cache, 'f16'), step }
  const y = await gpu.poisoned(queries.length, 'f16')
  const types = { storage: 'f16', activation: 'f16' } as const
  await gpu.run(attentionMmaGroup(variant), { ...types, overrides: settings(scene), buffers: { ...inputs, ...partials }, grid: [groups.length + 1, numKVHeads, 1] })
  await gpu.run(attentionVector({ ...variant, subgroups: 1 }), { ...types, overrides: settings(scene), buffers: { ...inputs, ...partials, y }, grid: [mostSplits + 1, numKVHeads, singles.length + 1] })
  await gpu.run(attentionMerge, { ...types, overrides: { NUM_HEADS: numHeads, HEAD_DIM: headDim, WINDOW: window }, buffers: { ...partials, step, y }, grid: [numHeads, singles.length + 1, 1] })
  return y
}

// One member's own part is a single token, another's many splits; two groups, the first large; between them rows that share nothing.
const LENGTHS = [257, 300, 40, 513, 290, 1, 129, 200, 260, 128, 385, 273]
const ALIKE: readonly Alike[] = [{ sequences: [0, 1, 3, 4, 8, 11], keys: 256 }, { sequences: [6, 7], keys: 128 }]
const lastTokens = LENGTHS.map((length, sequence) => ({ sequence, start: length - 1, count: 1 }))

interface Case { readonly model: AttendingModel, readonly alike?: readonly Alike[], readonly options?: SceneOptions, readonly parts: readonly Parts[], readonly variants?: readonly number[], readonly queries?: (count: number, random: SeededRandom) => Float64Array }

/** Every variant of the model's plan, or those of so many subgroups, against float64. */
function groupTest (name: string, seed: number, { model, alike = ALIKE, options, parts, variants, queries: makeQueries }: Case): void {
  gpuTest(name, gpu, async (t, gpu) => {
    t.comment(`seed ${seed}`)
    const random = new SeededRandom(seed)
    const scene = makeScene(random, model, 'f16', LENGTHS, { alike, spare: GARBAGE, ...options })
    const queries = makeQueries?.(LENGTHS.length, random) ?? queriesFor(random, model, LENGTHS.length, 'f16')
    const reference = expected(scene, queries, lastTokens)
    const allowed = tolerance(scene, queries, lastTokens, reference)
    const shapes = matrixPlan(model, gpu).groups.filter(({ subgroups }) => variants?.includes(subgroups) ?? true)
    t.ok(shapes.length > 0)
    for (const shape of shapes) {
      for (const part of parts) {
        const y = await attend(gpu, scene, queries, alike, part, shape)
        assertClose(t, await gpu.download(y, queries.length, 'f16'), reference, allowed, `${shape.subgroups} subgroup(s), parts of ${part.groupKeys} and ${part.splitKeys}`)
      }
    }
  })
}

// Groups that fill their columns, that leave some, and that leave subgroups without a member.
const models = [[32, 1], [64, 2], [64, 3], [64, 4], [64, 7], [80, 4], [96, 6], [128, 4], [128, 8], [256, 1], [256, 2]] as const
for (const [i, [headDim, group]] of models.entries()) {
  groupTest(`keys that rows share are attended together on tensor cores as in the reference: head dim ${headDim}, ${group} query head(s) on a KV head`, SEED + i, {
    model: { headDim, group, numKVHeads: 2 },
    parts: [{ groupKeys: 128, splitKeys: 32 }, { groupKeys: 96, splitKeys: 1024 }]
  })
}

// Prefixes, and last parts of them, on both sides of one stage of 64 keys and of several: 32 keys alone, a whole stage, and one whose second half is none.
for (const [i, [one, other]] of ([[32, 64], [96, 128], [160, 224], [256, 192]] as const).entries()) {
  for (const [headDim, group] of [[64, 4], [32, 3]] as const) {
    groupTest(`prefixes of ${one} and ${other} keys are attended whatever they leave of a stage: head dim ${headDim}`, SEED + 20 + i, {
      model: { headDim, group, numKVHeads: 2 },
      alike: [{ sequences: [0, 1, 3], keys: one }, { sequences: [4, 8, 11, 10], keys: other }],
      parts: [{ groupKeys: 256, splitKeys: 64 }, { groupKeys: 64, splitKeys: 1024 }, { groupKeys: 96, splitKeys: 64 }]
    })
  }
}

// Windows that begin within a prefix, in another place for each member, or behind it for some; in the first run, and in none.
for (const [window, softcap] of [[1, undefined], [20, 1.5], [60, undefined], [129, 30], [230, undefined], [600, undefined], [undefined, 1.5]] as const) {
  groupTest(`on tensor cores ${window === undefined ? 'shared keys are all seen' : `a window of ${window} keys hides shared ones before it`}${softcap === undefined ? '' : `, and scores are capped at ${softcap}`}`, SEED, {
    model: { headDim: 64, group: 2, numKVHeads: 2, ...window === undefined ? {} : { window }, ...softcap === undefined ? {} : { softcap } },
    parts: [{ groupKeys: 32, splitKeys: 64 }, { groupKeys: 160, splitKeys: 32 }]
  })
}

/** Scores of a query that begins with 1, as in attention-mma.test.ts. */
const planted: Readonly<Record<string, (position: number) => number>> = {
  'a huge score among the last shared keys': position => position === 250 || position === 120 ? 150 : 0,
  'a huge score among the first keys': position => position === 2 ? 150 : 0,
  'huge scores in the second half of a stage, and first in a later one': position => position === 32 || position === 63 || position === 64 || position === 223 ? 60 + position / 4 : 0,
  'a huge score among own keys': position => position === 256 || position === 199 ? 150 : 0,
  'scores that rise within every run by more than the headroom': position => position * 0.5 - 75,
  'scores that all lie far below zero': () => -2000
}

for (const [name, plant] of Object.entries(planted)) {
  const model = { headDim: 64, group: 4, numKVHeads: 1 }
  // Neighbouring columns lie far apart: one's scores rise where another's fall, and are eight times as large.
  const firsts = [1, -1, 8, 0.25, -8, 2]
  groupTest(`on tensor cores shared keys are weighed as in the reference: ${name}`, SEED, {
    model,
    options: { plant },
    parts: [{ groupKeys: 128, splitKeys: 128 }, { groupKeys: 224, splitKeys: 128 }],
    queries: (count, random) => queriesFor(random, model, count, 'f16').map((value, i) => i % model.headDim === 0 ? firsts[i / model.headDim % firsts.length] ?? 1 : value)
  })
}

groupTest('shared keys lie in larger blocks', SEED, { model: { headDim: 64, group: 2, numKVHeads: 2 }, options: { blockSize: 64 }, parts: [{ groupKeys: 96, splitKeys: 96 }] })
