import { InvalidModelConfigError, UnsupportedModelError } from '../errors.ts'
import type { JsonFields } from './json-fields.ts'
import { MAX_POSITIONS } from './rotary.ts'
import type { RotaryConfig, RotaryScaling } from './rotary.ts'

/** What a rotary configuration is read beside. */
export interface RotaryContext {
  readonly headDim: number
  readonly maxPositionEmbeddings: number
}

const MAX_THETA = 1e15
const MAX_FACTOR = 1e6
const SUPPORTED = 'default, linear, dynamic, llama3, yarn and longrope'

/**
 * Reads either Hugging Face spelling: `rope_theta` with `rope_scaling: {rope_type | type, …}`, or the newer
 * `rope_parameters: {rope_theta, rope_type, …}`.
 * @param newer the newer spelling, where it is not all of `rope_parameters`
 * @throws InvalidModelConfigError, also where a file has both and they scale differently: which one counts depends on who reads it
 * @throws UnsupportedModelError
 */
export function readRotaryConfig (fields: JsonFields, context: RotaryContext, newer = fields.nested('rope_parameters')): RotaryConfig {
  const older = fields.nested('rope_scaling')
  const config = readRotaryFields(fields, newer ?? older, context)
  const other = newer === undefined ? undefined : readRotaryFields(fields, older, context).scaling
  if (other !== undefined && JSON.stringify(other) !== JSON.stringify(config.scaling)) {
    throw new InvalidModelConfigError({ field: 'rope_scaling', value: fields.get('rope_scaling'), expected: 'nothing, or what rope_parameters says' })
  }
  return config
}

/** The same for one of several parameter sets, as models with two kinds of layers have; `parameters` undefined is unscaled. */
export function readRotaryFields (fields: JsonFields, parameters: JsonFields | undefined, { headDim, maxPositionEmbeddings }: RotaryContext): RotaryConfig {
  const owner = (field: string): JsonFields => parameters?.get(field) === undefined ? fields : parameters
  const partial = owner('partial_rotary_factor').number('partial_rotary_factor', { above: 0, max: 1, default: 1 })
  const dim = Math.floor(headDim * partial)
  if (dim < 2 || dim % 2 !== 0) throw new InvalidModelConfigError({ field: 'partial_rotary_factor', value: partial, expected: `an even number of head_dim's ${headDim} dimensions` })
  return Object.freeze({
    theta: owner('rope_theta').number('rope_theta', { above: 0, max: MAX_THETA, default: 10_000 }),
    dim,
    scaling: parameters === undefined ? undefined : readScaling(fields, parameters, dim, maxPositionEmbeddings)
  })
}

function readScaling (fields: JsonFields, parameters: JsonFields, dim: number, maxPositionEmbeddings: number): RotaryScaling | undefined {
  const type = parameters.get('rope_type') ?? parameters.get('type') ?? 'default'
  const positive = (field: string, otherwise?: number): number =>
    parameters.number(field, { above: 0, max: MAX_FACTOR, ...otherwise === undefined ? {} : { default: otherwise } })
  // Where both say it, the model's own field counts, as in transformers.
  const original = (otherwise?: number): number =>
    (fields.get('original_max_position_embeddings') === undefined ? parameters : fields)
      .integer('original_max_position_embeddings', { min: 1, max: MAX_POSITIONS, ...otherwise === undefined ? {} : { default: otherwise } })
  const longrope = (): RotaryScaling => {
    const originalMaxPositionEmbeddings = original()
    const factor = positive('factor', maxPositionEmbeddings / originalMaxPositionEmbeddings)
    return Object.freeze({
      type: 'longrope',
      shortFactor: parameters.numbers('short_factor', { length: dim / 2, above: 0, max: MAX_FACTOR }),
      longFactor: parameters.numbers('long_factor', { length: dim / 2, above: 0, max: MAX_FACTOR }),
      attentionFactor: positive('attention_factor', factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositionEmbeddings))),
      originalMaxPositionEmbeddings
    })
  }
  switch (type) {
    case 'default': return undefined
    case 'linear': return Object.freeze({ type: 'linear', factor: positive('factor') })
    case 'dynamic': return Object.freeze({ type: 'dynamic', factor: positive('factor'), originalMaxPositionEmbeddings: maxPositionEmbeddings })
    case 'llama3': {
      const lowFreqFactor = positive('low_freq_factor')
      const highFreqFactor = positive('high_freq_factor')
      // Between them the scale is interpolated: their difference divides.
      if (!(highFreqFactor > lowFreqFactor)) {
        throw new InvalidModelConfigError({ field: 'high_freq_factor', value: highFreqFactor, expected: `more than low_freq_factor (${lowFreqFactor})` })
      }
      return Object.freeze({ type: 'llama3', factor: positive('factor'), lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: original() })
    }
    case 'yarn': {
      // The first Phi-3 files gave LongRoPE this name.
      if (parameters.get('short_factor') !== undefined) return longrope()
      const originalMaxPositionEmbeddings = original(maxPositionEmbeddings)
      const factor = positive('factor', maxPositionEmbeddings / originalMaxPositionEmbeddings)
      return Object.freeze({
        type: 'yarn',
        factor,
        betaFast: positive('beta_fast', 32),
        betaSlow: positive('beta_slow', 1),
        truncate: parameters.boolean('truncate', true),
        attentionFactor: positive('attention_factor', yarnAttention(factor, parameters.get('mscale'), parameters.get('mscale_all_dim'))),
        originalMaxPositionEmbeddings
      })
    }
    case 'longrope':
    case 'su': return longrope()
    case 'frequency_factors':
      return Object.freeze({ type: 'frequency-factors', factors: parameters.numbers('factors', { length: dim / 2, above: 0, max: MAX_FACTOR }) })
    default: throw new UnsupportedModelError({ field: 'rope_scaling type', value: type, supported: SUPPORTED })
  }
}

/** YaRN's temperature, 0.1 ln(s) + 1; DeepSeek's variant divides two of them. */
function yarnAttention (factor: number, mscale: unknown, mscaleAllDim: unknown): number {
  const of = (scale: number): number => factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1
  return typeof mscale === 'number' && typeof mscaleAllDim === 'number' && mscale !== 0 && mscaleAllDim !== 0 ? of(mscale) / of(mscaleAllDim) : of(1)
}
