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

/** Several times the longest published context, and the last that f32 counts to. */
export const MAX_POSITIONS = 16_777_216

/**
 * The longest context a model's rotary embedding is meant for. Dynamic scaling and YaRN carry it to a multiple of the original one,
 * and files that had either added to them (as the cards of Qwen 2.5 and 3 advise) still name the shorter one.
 */
export function longestContext ({ scaling }: RotaryConfig, maxPositionEmbeddings: number): number {
  if (scaling?.type !== 'dynamic' && scaling?.type !== 'yarn') return maxPositionEmbeddings
  return Math.min(MAX_POSITIONS, Math.max(maxPositionEmbeddings, Math.floor(scaling.originalMaxPositionEmbeddings * scaling.factor)))
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
