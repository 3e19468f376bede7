import { createHash } from 'node:crypto'
import type { AdapterReport } from '../engine.ts'
import { attentionVector } from '../kernels/attention/attention-vector.ts'
import { wholeLayer } from '../kernels/layer/whole-layer.ts'
import type { WholeLayerShape } from '../kernels/layer/layer-shape.ts'
import { gemvMerged } from '../kernels/matmul/gemv-merged.ts'
import { gemvNormed } from '../kernels/matmul/gemv-normed.ts'
import { gemvRotary } from '../kernels/matmul/gemv-rotary.ts'
import { mmaLinearBehindNorm } from '../kernels/matmul/mma-linear.ts'
import { mmaRotaryBehindNorm } from '../kernels/matmul/mma-rotary.ts'
import type { WholeLayerChoice } from '../layers/whole-layers.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { rmsNorm, rmsNormSummed } from '../kernels/model-kernels.ts'
import { kernelsFingerprint } from './kernels-fingerprint.ts'
import { KeptTable } from './kept-table.ts'

/** What was measured of a model's whole layers of so many rows. */
export interface LayerMeasurement extends WholeLayerChoice {
  /** Most keys of each of the rows. */
  readonly measuredKeys: number
}

/** What whole layers were measured to be, by `layerKey`. */
export class KeptLayers extends KeptTable<readonly LayerMeasurement[]> {
  /**
   * @param folder where such files are kept
   * @param tried what is tried on an adapter
   */
  constructor (folder: string, adapter: Pick<AdapterReport, 'name' | 'driver'>, tried: readonly unknown[]) {
    super(folder, 'layers', adapter, layersFingerprint(tried), parseLayerTable)
  }
}

/** All of a model that decides whether its whole layers are faster: their sizes and windows, and what else there is in a step. */
export function layerKey ({ hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, qkvBias, qkNorm }: WholeLayerShape, { layers, vocabSize }: Pick<ModelConfig, 'layers' | 'vocabSize'>): string {
  const windows = layers.flatMap(({ window }) => window === undefined ? [] : [window])
  return `${layers.length} of ${hiddenSize} x ${intermediateSize}, heads ${numHeads}/${numKVHeads} of ${headDim}${qkvBias ? ', bias' : ''}${qkNorm ? ', norms' : ''}` +
    `${windows.length === 0 ? '' : `, ${windows.length} windows of ${Math.min(...windows)}`}, vocabulary of ${vocabSize}`
}

/** Another text of the kernel, of most of those that it was compared with, or another list of what is tried makes another fingerprint. */
function layersFingerprint (tried: readonly unknown[]): string {
  const llama = { hiddenSize: 2048, intermediateSize: 8192, numHeads: 32, numKVHeads: 8, headDim: 64, qkvBias: true, qkNorm: true, rows: 1, matrices: false, pieceBytes: 33 << 10, workgroups: 128, teams: 32, ahead: 4, subgroup: 32 }
  // Columns in several rounds, and none of the options.
  const large = { ...llama, hiddenSize: 4096, intermediateSize: 14_336, headDim: 128, qkvBias: false, qkNorm: false }
  const whole = [llama, large, { ...llama, rows: 2 }, { ...llama, rows: 8, matrices: true }, { ...large, rows: 8, matrices: true }]
  const loop = { splits: 8, ahead: 4, k: 2048, subgroup: 32 } as const
  const grid = { rowGroups: 1, columnGroups: 2, depthGroups: 4, rowTiles: 1, columnTiles: 2, depth: 128, subgroup: 32 }
  const apart = [
    gemvRotary(loop), gemvMerged({ ...loop, epilogue: 'residual' }), gemvNormed({ ...loop, epilogue: 'silu-gate' }),
    attentionVector({ headDim: 64, group: 4, subgroups: 8, capped: false, subgroup: 32 }),
    ...(['staged', 'streamed'] as const).flatMap(weights => [mmaLinearBehindNorm({ ...grid, weights, epilogue: 'silu-gate' }, 2048), mmaRotaryBehindNorm({ ...grid, weights }, 2048)])
  ]
  const texts = [...whole.map(shape => wholeLayer(shape)), ...apart, rmsNorm, rmsNormSummed].map(({ wgsl }) => wgsl)
  return createHash('sha256').update(JSON.stringify([tried, texts, kernelsFingerprint()])).digest('hex').slice(0, 12)
}

/** A table from a file that somebody may have changed: what is no measurement is left out, and measured again. */
export function parseLayerTable (value: unknown): Readonly<Record<string, readonly LayerMeasurement[]>> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).flatMap(([key, entry]) => Array.isArray(entry) && entry.every(isMeasurement) ? [[key, entry]] : []))
}

function isMeasurement (value: unknown): value is LayerMeasurement {
  const field = (name: string): unknown => typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined
  return ['rows', 'workgroups', 'teams', 'ahead', 'measuredKeys'].every(name => isCount(field(name))) && (field('mostKeys') === 0 || isCount(field('mostKeys'))) &&
    ['rows', 'teams'].every(name => Math.log2(Number(field(name))) % 1 === 0)
}

function isCount (value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 1
}
