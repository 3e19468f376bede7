import { createHash } from 'node:crypto'
import type { AdapterReport } from '../engine.ts'
import { wholeLayer } from '../kernels/layer/whole-layer.ts'
import type { WholeLayerShape } from '../kernels/layer/layer-shape.ts'
import type { WholeLayerChoice } from '../layers/whole-layers.ts'
import { kernelsFingerprint } from './kernels-fingerprint.ts'
import { KeptTable } from './kept-table.ts'

/** What was measured of a model's whole layers. */
export interface LayerMeasurement {
  /** Undefined: apart they are faster, or these workgroups do not run side by side. */
  readonly choice: WholeLayerChoice | undefined
  /** Most keys of a token that was measured. */
  readonly measuredKeys: number
}

/** What whole layers were measured to be, by `layerKey`. */
export class KeptLayers extends KeptTable<LayerMeasurement> {
  /** @param folder where such files are kept */
  constructor (folder: string, adapter: Pick<AdapterReport, 'name' | 'driver'>) {
    super(folder, 'layers', adapter, layersFingerprint(), parseLayerTable)
  }
}

/** A layer's sizes, which are all that its speed depends on. */
export function layerKey ({ hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, qkvBias, qkNorm }: WholeLayerShape): string {
  return `${hiddenSize} x ${intermediateSize}, heads ${numHeads}/${numKVHeads} of ${headDim}${qkvBias ? ', bias' : ''}${qkNorm ? ', norms' : ''}`
}

/** Another text of the kernel, or of those that it was compared with, makes another fingerprint. */
function layersFingerprint (): string {
  const shape = { hiddenSize: 2048, intermediateSize: 8192, numHeads: 32, numKVHeads: 8, headDim: 64, qkvBias: true, qkNorm: true, workgroups: 128, teams: 32, ahead: 4, subgroup: 32 }
  return createHash('sha256').update(JSON.stringify([wholeLayer(shape).wgsl, kernelsFingerprint()])).digest('hex').slice(0, 12)
}

/** A table from a file that somebody may have changed: what is no measurement is left out, and measured again. */
export function parseLayerTable (value: unknown): Readonly<Record<string, LayerMeasurement>> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).flatMap(([key, entry]) => isMeasurement(entry) ? [[key, entry]] : []))
}

function isMeasurement (value: unknown): value is LayerMeasurement {
  if (typeof value !== 'object' || value === null || !('measuredKeys' in value) || !isCount(value.measuredKeys)) return false
  const choice = 'choice' in value ? value.choice : undefined
  return choice === undefined || (typeof choice === 'object' && choice !== null &&
    ['workgroups', 'teams', 'ahead', 'mostKeys'].every(name => isCount(Object.entries(choice).find(([key]) => key === name)?.[1])) &&
    'teams' in choice && Math.log2(Number(choice.teams)) % 1 === 0)
}

function isCount (value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 1
}
