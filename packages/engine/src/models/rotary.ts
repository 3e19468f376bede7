import { InvalidModelConfigError, UnsupportedModelError } from '../errors.ts'
import type { JsonFields } from './json-fields.ts'

/** Llama 3.1's stretching of the low frequencies, for a context longer than the pretraining one. */
export interface Llama3RotaryScaling {
  readonly type: 'llama3'
  readonly factor: number
  readonly lowFreqFactor: number
  readonly highFreqFactor: number
  readonly originalMaxPositionEmbeddings: number
}

export interface RotaryConfig {
  /** Base of the geometric row of wavelengths. */
  readonly ropeTheta: number
  readonly ropeScaling: Llama3RotaryScaling | undefined
}

const SUPPORTED = 'default and llama3'
const MAX_THETA = 1e15
const MAX_FACTOR = 1e6

/**
 * Reads either Hugging Face spelling: `rope_theta` with `rope_scaling: {rope_type | type, …}`, or the newer
 * `rope_parameters: {rope_theta, rope_type, …}`.
 */
export function readRotaryConfig (fields: JsonFields): RotaryConfig {
  const parameters = fields.nested('rope_parameters') ?? fields.nested('rope_scaling')
  const thetaOwner = parameters?.get('rope_theta') === undefined ? fields : parameters
  for (const owner of [fields, parameters]) {
    const partial = owner?.get('partial_rotary_factor') ?? 1
    if (partial !== 1) throw new UnsupportedModelError({ field: 'partial_rotary_factor', value: partial, supported: '1' })
  }
  return {
    ropeTheta: thetaOwner.number('rope_theta', { above: 0, max: MAX_THETA, default: 10_000 }),
    ropeScaling: parameters === undefined ? undefined : readScaling(parameters)
  }
}

function readScaling (parameters: JsonFields): Llama3RotaryScaling | undefined {
  const type = parameters.get('rope_type') ?? parameters.get('type') ?? 'default'
  if (type === 'default') return undefined
  if (type !== 'llama3') throw new UnsupportedModelError({ field: 'rope_scaling type', value: type, supported: SUPPORTED })
  const lowFreqFactor = parameters.number('low_freq_factor', { above: 0, max: MAX_FACTOR })
  const highFreqFactor = parameters.number('high_freq_factor', { above: 0, max: MAX_FACTOR })
  // Between them the scale is interpolated: their difference divides.
  if (!(highFreqFactor > lowFreqFactor)) {
    throw new InvalidModelConfigError({ field: 'high_freq_factor', value: highFreqFactor, expected: `more than low_freq_factor (${lowFreqFactor})` })
  }
  return Object.freeze({
    type,
    factor: parameters.number('factor', { above: 0, max: MAX_FACTOR }),
    lowFreqFactor,
    highFreqFactor,
    originalMaxPositionEmbeddings: parameters.integer('original_max_position_embeddings', { min: 1, max: 16_777_216 })
  })
}

/**
 * Radians per position of each rotated pair, `[headDim / 2]`: pair i turns by `position · result[i]`.
 * Computed in double precision and rounded once.
 * @see RoFormer, Su et al. 2021: theta^(-2i / headDim). The llama3 scaling is the one published with Llama 3.1: wavelengths
 * beyond the original context are stretched by `factor`, short ones are kept, those between are interpolated.
 */
export function rotaryInverseFrequencies (config: RotaryConfig & { readonly headDim: number }): Float32Array {
  const { headDim, ropeTheta, ropeScaling } = config
  return Float32Array.from({ length: headDim / 2 }, (_, pair) => {
    const frequency = ropeTheta ** (-2 * pair / headDim)
    return ropeScaling === undefined ? frequency : scaledFrequency(frequency, ropeScaling)
  })
}

function scaledFrequency (frequency: number, scaling: Llama3RotaryScaling): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = scaling
  const turnsInOriginalContext = originalMaxPositionEmbeddings * frequency / (2 * Math.PI)
  if (turnsInOriginalContext > highFreqFactor) return frequency
  if (turnsInOriginalContext < lowFreqFactor) return frequency / factor
  const kept = (turnsInOriginalContext - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
  return (1 - kept) * frequency / factor + kept * frequency
}
