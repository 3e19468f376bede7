import { availableParallelism } from 'node:os'
import t from 'tap'
import { GpuDevice } from '../../../../packages/engine/src/device/gpu-device.ts'
import { layerAttention } from '../../../../packages/engine/src/kernels/layer/layer-attention-part.ts'
import { fitsWholeLayer, wholeLayer, wholeLayerBindings, wholeLayerBytes } from '../../../../packages/engine/src/kernels/layer/whole-layer.ts'
import type { WholeLayerShape } from '../../../../packages/engine/src/kernels/layer/layer-shape.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { GpuHarness, gpuTest } from '../gpu-harness.ts'
import { layerScene } from './layer-scene.ts'
import { assertValidWgsl } from '../valid-wgsl.ts'

const SEED = 20261127
const opened = await GpuHarness.open()
const fits = 'missing' in opened || (opened.device.capabilities.f16 && opened.device.capabilities.subgroups && opened.device.report.subgroupMinSize === opened.device.report.subgroupMaxSize)
const gpu = 'missing' in opened || fits ? opened : { missing: `${opened.device.report.name} has no f16, or no subgroups of one size` }
const subgroup = 'missing' in opened ? 32 : opened.device.report.subgroupMinSize

const plain = { qkvBias: false, qkNorm: false, rows: 1, matrices: false, ahead: 4, pieceBytes: 33 << 10, subgroup }
const eight = { ...plain, rows: 8, matrices: true, teams: 32 }
const named: readonly WholeLayerShape[] = [
  { ...plain, hiddenSize: 2048, intermediateSize: 8192, numHeads: 32, numKVHeads: 8, headDim: 64, workgroups: 128, teams: 32 },
  { ...plain, hiddenSize: 4096, intermediateSize: 14_336, numHeads: 32, numKVHeads: 8, headDim: 128, workgroups: 128, teams: 32, ahead: 2 },
  { ...plain, hiddenSize: 1024, intermediateSize: 3072, numHeads: 16, numKVHeads: 8, headDim: 128, qkNorm: true, workgroups: 64, teams: 16, ahead: 8 },
  { ...plain, hiddenSize: 896, intermediateSize: 4864, numHeads: 14, numKVHeads: 2, headDim: 64, qkvBias: true, workgroups: 32, teams: 16, ahead: 8 },
  { ...eight, hiddenSize: 2048, intermediateSize: 8192, numHeads: 32, numKVHeads: 8, headDim: 64, workgroups: 128 },
  { ...eight, hiddenSize: 4096, intermediateSize: 14_336, numHeads: 32, numKVHeads: 8, headDim: 128, workgroups: 128 },
  { ...eight, hiddenSize: 1024, intermediateSize: 3072, numHeads: 16, numKVHeads: 8, headDim: 128, qkNorm: true, workgroups: 128, teams: 16, ahead: 8 }
].flatMap(shape => shape.matrices ? [shape] : [shape, { ...shape, rows: 2 }, { ...shape, rows: 4, ahead: 2 }]).map(shape => ({ ...shape, subgroup: 32 }))

/** A part of the keys is as many as a subgroup has lanes, or more. */
const lanes = subgroup / 8

/** One workgroup: every option, as few teams as may be or twice as many, K in uneven turns. */
const alone: readonly WholeLayerShape[] = [
  { ...plain, hiddenSize: 64, intermediateSize: 96, numHeads: 2, numKVHeads: 1, headDim: 32, qkNorm: true, workgroups: 1, teams: lanes },
  { ...plain, hiddenSize: 80, intermediateSize: 112, numHeads: 3, numKVHeads: 1, headDim: 32, qkvBias: true, workgroups: 1, teams: 2 * lanes, ahead: 2 }
]
/** Two, each with a part of one head's keys and columns that the other lacks. */
const both: WholeLayerShape = { ...plain, hiddenSize: 144, intermediateSize: 256, numHeads: 2, numKVHeads: 1, headDim: 64, workgroups: 2, teams: 4 * lanes }
/** As many as no software adapter runs side by side, and a KV head for each. */
const many: readonly WholeLayerShape[] = [
  { ...plain, hiddenSize: 96, intermediateSize: 160, numHeads: 4, numKVHeads: 2, headDim: 32, qkvBias: true, workgroups: 2, teams: 4 },
  { ...plain, hiddenSize: 512, intermediateSize: 1024, numHeads: 8, numKVHeads: 2, headDim: 64, qkvBias: true, workgroups: 32, teams: 16 },
  { ...plain, hiddenSize: 640, intermediateSize: 1536, numHeads: 8, numKVHeads: 8, headDim: 128, qkNorm: true, workgroups: 64, teams: 32 }
]
/** Those that are compiled once more, with a window. */
const windowed = new Set([alone[0], many[1], many[2]])

t.test('the kernel of every named model is valid WGSL and fits what adapters have', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  t.ok(wholeLayerBindings <= 16, 'storage buffers')
  for (const shape of named) {
    const { name, wgsl } = wholeLayer(shape)
    await assertValidWgsl(t, device, { name, wgsl })
    t.ok(fitsWholeLayer(shape), `${name} fits`)
    const declared = [...wgsl.matchAll(/var<workgroup> \w+: array<(vec4<\w+>|vec2<\w+>|f32), (\d+)>/g)].reduce((sum, [, type = '', count]) => sum + (type.startsWith('vec4') ? 16 : type.startsWith('vec2') ? 8 : 4) * Number(count), 0)
    const said = wholeLayerBytes(shape) ?? NaN
    t.ok(said >= declared && said <= declared + 8 * 15, `${name}: ${said} bytes of workgroup memory are said, ${declared} declared`)
  }
})

t.test('shapes that the kernel cannot be written for are refused', t => {
  const [shape] = alone
  if (shape === undefined) throw new TypeError('no shape')
  t.ok(fitsWholeLayer(shape))
  for (const headDim of [4, 16, 96]) t.notOk(fitsWholeLayer({ ...shape, headDim }), `heads of ${headDim}`)
  t.notOk(fitsWholeLayer({ ...shape, hiddenSize: 1000 }), 'rows that are no whole tiles')
  t.notOk(fitsWholeLayer({ ...shape, intermediateSize: 2732 }), 'columns that are none')
  t.notOk(fitsWholeLayer({ ...shape, workgroups: 16 }), 'more workgroups than columns of the gate')
  t.notOk(fitsWholeLayer({ ...shape, numKVHeads: 2 }), 'fewer workgroups than KV heads')
  t.end()
})

const keysAtOnce = (shape: WholeLayerShape): number => layerAttention(shape).keys

const contexts = (shape: WholeLayerShape): number[] => {
  const keys = keysAtOnce(shape)
  return [1, 2, keys - 1, keys, keys + 1, 2 * keys, 3 * keys + 5].filter(context => context > 0)
}

for (const [name, shapes, enough] of [
  ['by one workgroup', alone, true],
  ['by two that hand each other what they have', [both], availableParallelism() > 1],
  ['by dozens', many, !('missing' in opened) && !opened.device.report.software]
] as const) {
  const device = enough ? gpu : { missing: 'so many workgroups do not run side by side here' }
  gpuTest(`a token's layer is computed in one dispatch, ${name}`, device, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const shape of shapes) {
      const scene = await layerScene(gpu, random, shape, 3 * keysAtOnce(shape) + 5)
      for (const context of contexts(shape)) await scene.tokens(t, [context], 0)
      for (const context of windowed.has(shape) ? contexts(shape) : []) await scene.tokens(t, [context], 20)
      gpu.free()
    }
  })
}

gpuTest('a wait for a workgroup that never comes ends, marked, and so do those of the layers behind', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const scene = await layerScene(gpu, new SeededRandom(SEED), both, 100)
  const { marks, x } = await scene.short()
  t.strictSame(marks, [1, 1], 'the layer has the mark, and the one behind it takes it over')
  t.ok(x.some(Number.isNaN), 'what they computed is no result')
})
