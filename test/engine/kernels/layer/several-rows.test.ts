import { availableParallelism } from 'node:os'
import { layerAttention } from '../../../../packages/engine/src/kernels/layer/layer-attention-part.ts'
import type { WholeLayerShape } from '../../../../packages/engine/src/kernels/layer/layer-shape.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { GpuHarness, gpuTest } from '../gpu-harness.ts'
import { layerScene } from './layer-scene.ts'

const SEED = 20261127
/** Of the shapes with biases: some of the longest contexts. */
const WINDOW = 100
const opened = await GpuHarness.open()
const fits = 'missing' in opened || (opened.device.capabilities.f16 && opened.device.capabilities.subgroups && opened.device.report.subgroupMinSize === opened.device.report.subgroupMaxSize)
const gpu = 'missing' in opened || fits ? opened : { missing: `${opened.device.report.name} has no f16, or no subgroups of one size` }
const subgroup = 'missing' in opened ? 32 : opened.device.report.subgroupMinSize
/** A part of the keys is as many as a subgroup has lanes, or more. */
const lanes = subgroup / 8

const plain = { qkvBias: false, qkNorm: false, matrices: false, ahead: 4, pieceBytes: 33 << 10, subgroup }
/** Two workgroups and rows: normalised rows in pieces, gated values of both. */
const two: WholeLayerShape = { ...plain, rows: 2, hiddenSize: 128, intermediateSize: 128, numHeads: 2, numKVHeads: 1, headDim: 32, qkvBias: true, qkNorm: true, pieceBytes: 450, workgroups: 2, teams: 8 * lanes, ahead: 1 }
const eight = { ...plain, rows: 8, matrices: true, teams: 32 }
/** Up to eight rows: four lane by lane, eight on tensor cores, the second of which has normalised rows in pieces, and the third gated values among several workgroups. */
const eights: readonly WholeLayerShape[] = [
  { ...plain, rows: 4, teams: 32, ahead: 2, hiddenSize: 640, intermediateSize: 1536, numHeads: 6, numKVHeads: 2, headDim: 64, workgroups: 32 },
  { ...eight, hiddenSize: 512, intermediateSize: 1024, numHeads: 8, numKVHeads: 2, headDim: 64, qkvBias: true, workgroups: 32 },
  { ...eight, hiddenSize: 512, intermediateSize: 1024, numHeads: 8, numKVHeads: 2, headDim: 64, qkvBias: true, workgroups: 32, teams: 16, pieceBytes: 5000 },
  { ...eight, hiddenSize: 640, intermediateSize: 3072, numHeads: 8, numKVHeads: 8, headDim: 128, qkNorm: true, workgroups: 64, teams: 16, ahead: 8 }
]
const contexts = (shape: WholeLayerShape): number[] => {
  const { keys } = layerAttention(shape)
  return [1, 2, keys - 1, keys, keys + 1, 2 * keys, 3 * keys + 5]
}

for (const [name, shapes, enough] of [
  ['two rows', [two], availableParallelism() > 1],
  ['four, and up to eight on tensor cores', eights, !('missing' in opened) && opened.device.capabilities.narrowMatrix === true && !opened.device.report.software]
] as const) {
  const device = enough ? gpu : { missing: 'so many workgroups do not run side by side here, or there are no tensor cores' }
  gpuTest(`tokens of several sequences are computed together, ${name}`, device, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const shape of shapes) {
      const all = contexts(shape)
      const scene = await layerScene(gpu, random, shape, Math.max(...all))
      for (const rows of new Set([1, 2, shape.rows - 1, shape.rows])) {
        for (const first of rows === 1 ? [3] : [0, 3, 5]) await scene.tokens(t, Array.from({ length: rows }, (_, row) => all[(first + row) % all.length] ?? 1), shape.qkvBias ? WINDOW : 0)
      }
      gpu.free()
    }
  })
}
