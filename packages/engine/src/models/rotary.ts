import { InvalidModelConfigError, UnsupportedModelError } from '../errors.ts'
import type { JsonFields } from './json-fields.ts'

/** How a model stretches its rotary wavelengths for contexts longer than its pretraining had. */
export type RotaryScaling =
  | { readonly type: 'linear', readonly factor: number }
  /** Grows the base with the context, once that passes the original one. */
  | { readonly type: 'dynamic', readonly factor: number, readonly originalMaxPositionEmbeddings: number }
  | {
    readonly type: 'llama3'
    readonly factor: number
    readonly lowFreqFactor: number
    readonly highFreqFactor: number
    readonly originalMaxPositionEmbeddings: number
  }
  | {
    readonly type: 'yarn'
    readonly factor: number
    readonly betaFast: number
    readonly betaSlow: number
    /** Whether the ramp's ends are rounded to whole pairs, as the first implementations did. */
    readonly truncate: boolean
    readonly attentionFactor: number
    readonly originalMaxPositionEmbeddings: number
  }
  /** A divisor per pair, one list for contexts up to the original length and one for longer ones. */
  | {
    readonly type: 'longrope'
    readonly shortFactor: readonly number[]
    readonly longFactor: readonly number[]
    readonly attentionFactor: number
    readonly originalMaxPositionEmbeddings: number
  }
  /** A divisor per pair, as GGUF files store what another scaling comes to. */
  | { readonly type: 'frequency-factors', readonly factors: readonly number[] }

export interface RotaryConfig {
  /** Base of the geometric row of wavelengths. */
  readonly theta: number
  /** Even; leading dimensions of a head that are turned. The rest pass as they are. */
  readonly dim: number
  readonly scaling: RotaryScaling | undefined
}

/** What a rotary configuration is read beside. */
export interface RotaryContext {
  readonly headDim: number
  readonly maxPositionEmbeddings: number
}

const MAX_THETA = 1e15
const MAX_FACTOR = 1e6
const MAX_POSITIONS = 16_777_216
const SUPPORTED = 'default, linear, dynamic, llama3, yarn and longrope'

/**
 * Reads either Hugging Face spelling: `rope_theta` with `rope_scaling: {rope_type | type, …}`, or the newer
 * `rope_parameters: {rope_theta, rope_type, …}`.
 * @throws InvalidModelConfigError, UnsupportedModelError
 */
export function readRotaryConfig (fields: JsonFields, context: RotaryContext): RotaryConfig {
  return readRotaryFields(fields, fields.nested('rope_parameters') ?? fields.nested('rope_scaling'), context)
}

/** The same for one of several parameter sets, as models with two kinds of layers have; `parameters` undefined is unscaled. */
export function readRotaryFields (fields: JsonFields, parameters: JsonFields | undefined, { headDim, maxPositionEmbeddings }: RotaryContext): RotaryConfig {
  const owner = (field: string): JsonFields => parameters?.get(field) === undefined ? fields : parameters
  const partial = owner('partial_rotary_factor').number('partial_rotary_factor', { above: 0, max: 1, default: 1 })
  const dim = Math.floor(headDim * partial)
  if (dim % 2 !== 0) throw new InvalidModelConfigError({ field: 'partial_rotary_factor', value: partial, expected: `an even number of head_dim's ${headDim} dimensions` })
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
  const original = (otherwise?: number): number =>
    (parameters.get('original_max_position_embeddings') === undefined ? fields : parameters)
      .integer('original_max_position_embeddings', { min: 1, max: MAX_POSITIONS, ...otherwise === undefined ? {} : { default: otherwise } })
  switch (type) {
    case 'default': return undefined
    case 'linear': return Object.freeze({ type: 'linear', factor: positive('factor') })
    case 'dynamic': return Object.freeze({ type: 'dynamic', factor: positive('factor'), originalMaxPositionEmbeddings: original(maxPositionEmbeddings) })
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
    case 'su': {
      const originalMaxPositionEmbeddings = original()
      const factor = maxPositionEmbeddings / originalMaxPositionEmbeddings
      return Object.freeze({
        type: 'longrope',
        shortFactor: parameters.numbers('short_factor', { length: dim / 2, above: 0, max: MAX_FACTOR }),
        longFactor: parameters.numbers('long_factor', { length: dim / 2, above: 0, max: MAX_FACTOR }),
        attentionFactor: positive('attention_factor', factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositionEmbeddings))),
        originalMaxPositionEmbeddings
      })
    }
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

/** The longest context a model's rotary embedding is meant for: dynamic scaling carries it past the trained one. */
export function longestContext ({ scaling }: RotaryConfig, maxPositionEmbeddings: number): number {
  return scaling?.type === 'dynamic' ? Math.max(maxPositionEmbeddings, Math.floor(scaling.originalMaxPositionEmbeddings * scaling.factor)) : maxPositionEmbeddings
}

export interface Rotation {
  /** Radians per position of each turned pair, `[dim / 2]`: pair i turns by `position · result[i]`. */
  readonly frequencies: Float32Array
  /** Multiplies sines and cosines, and so queries and keys. */
  readonly amplitude: number
}

/**
 * The rotation for a server that allows contexts up to `maxModelLen`. Computed in double precision and rounded once.
 *
 * `dynamic` and `longrope` depend on the length in transformers' code, which changes the angles of keys already cached. Here, as in
 * vLLM, the longest context allowed decides once, so that a sequence's own length never does: within the original length both equal
 * transformers; start with `--max-model-len` at or below it to keep the short form.
 * @see RoFormer, Su et al. 2021: theta^(-2i / dim). YaRN, Peng et al. 2023. LongRoPE, Ding et al. 2024. The llama3 scaling is the
 * one published with Llama 3.1: wavelengths beyond the original context are stretched by `factor`, short ones are kept, those
 * between are interpolated.
 */
export function rotation ({ theta, dim, scaling }: RotaryConfig, maxModelLen: number): Rotation {
  const plain = (base: number): Float64Array => Float64Array.from({ length: dim / 2 }, (_, pair) => base ** (-2 * pair / dim))
  const divided = (factors: readonly number[]): Float64Array => plain(theta).map((frequency, pair) => frequency / (factors[pair] ?? 1))
  const turning = (frequencies: Float64Array, amplitude = 1): Rotation => ({ frequencies: Float32Array.from(frequencies), amplitude })
  switch (scaling?.type) {
    case undefined: return turning(plain(theta))
    case 'linear': return turning(plain(theta).map(frequency => frequency / scaling.factor))
    case 'dynamic': {
      const { factor, originalMaxPositionEmbeddings } = scaling
      const stretch = factor * Math.max(maxModelLen, originalMaxPositionEmbeddings) / originalMaxPositionEmbeddings - (factor - 1)
      return turning(plain(stretch === 1 ? theta : theta * stretch ** (dim / (dim - 2))))
    }
    case 'llama3': return turning(plain(theta).map(frequency => llama3Frequency(frequency, scaling)))
    case 'yarn': return turning(yarnFrequencies(plain(theta), theta, dim, scaling), scaling.attentionFactor)
    case 'longrope': return turning(divided(maxModelLen > scaling.originalMaxPositionEmbeddings ? scaling.longFactor : scaling.shortFactor), scaling.attentionFactor)
    case 'frequency-factors': return turning(divided(scaling.factors))
    default: return scaling satisfies never
  }
}

function llama3Frequency (frequency: number, scaling: Extract<RotaryScaling, { type: 'llama3' }>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = scaling
  const turnsInOriginalContext = originalMaxPositionEmbeddings * frequency / (2 * Math.PI)
  if (turnsInOriginalContext > highFreqFactor) return frequency
  if (turnsInOriginalContext < lowFreqFactor) return frequency / factor
  const kept = (turnsInOriginalContext - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
  return (1 - kept) * frequency / factor + kept * frequency
}

/** Fast pairs are kept, slow ones divided, and those between blended along a ramp over the pair's index. */
function yarnFrequencies (plain: Float64Array, theta: number, dim: number, scaling: Extract<RotaryScaling, { type: 'yarn' }>): Float64Array {
  const pairTurning = (turns: number): number => dim * Math.log(scaling.originalMaxPositionEmbeddings / (turns * 2 * Math.PI)) / (2 * Math.log(theta))
  const [floor, ceil] = scaling.truncate ? [Math.floor, Math.ceil] : [(x: number) => x, (x: number) => x]
  const low = Math.max(floor(pairTurning(scaling.betaFast)), 0)
  const high = Math.min(ceil(pairTurning(scaling.betaSlow)), dim - 1)
  return plain.map((frequency, pair) => {
    const interpolated = Math.min(1, Math.max(0, (pair - low) / (high === low ? 0.001 : high - low)))
    return frequency / scaling.factor * interpolated + frequency * (1 - interpolated)
  })
}
