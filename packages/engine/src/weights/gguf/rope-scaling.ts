import { InvalidCheckpointError, UnsupportedModelError } from '../../errors.ts'
import type { MetadataFields } from './metadata-fields.ts'

/** The divisors of rotary frequencies that a file stores as tensors. */
export interface RopeFactors {
  /** Of a Llama 3 scaling, `rope_freqs.weight`. */
  readonly frequencies: readonly number[] | undefined
  /** Of LongRoPE, `rope_factors_long.weight` and `rope_factors_short.weight`. */
  readonly long: readonly number[] | undefined
  readonly short: readonly number[] | undefined
}

/**
 * The `rope_scaling` of config.json; null for none. Divisors without a rule behind them become
 * `{rope_type: 'frequency_factors', factors}`, which Hugging Face has no word for.
 * @throws UnsupportedModelError for what has no equivalent there
 */
export function readRopeScaling (metadata: MetadataFields, factors: RopeFactors, maxPositionEmbeddings: number): Readonly<Record<string, unknown>> | null {
  const original = metadata.optionalInteger('.rope.scaling.original_context_length', 1)
  if (factors.long !== undefined && factors.short !== undefined) {
    const attention = metadata.optionalNumber('.rope.scaling.attn_factor')
    return {
      rope_type: 'longrope',
      long_factor: factors.long,
      short_factor: factors.short,
      original_max_position_embeddings: original ?? maxPositionEmbeddings,
      ...attention === undefined ? {} : { attention_factor: attention }
    }
  }
  if (factors.long !== undefined || factors.short !== undefined) refuseLongRope(metadata)
  const type = metadata.text('.rope.scaling.type') ?? (metadata.has('.rope.scale_linear') ? 'linear' : 'none')
  if (factors.frequencies !== undefined) {
    if (type !== 'none') unsupported(metadata, '.rope.scaling.type', type, 'none beside rope_freqs.weight')
    return factors.frequencies.every(factor => factor === 1) ? null : { rope_type: 'frequency_factors', factors: factors.frequencies }
  }
  switch (type) {
    case 'none': return null
    case 'linear': return linear(metadata.optionalNumber('.rope.scaling.factor') ?? metadata.number('.rope.scale_linear'))
    case 'yarn': return readYarn(metadata, original ?? maxPositionEmbeddings)
    case 'longrope': return refuseLongRope(metadata)
    default: return unsupported(metadata, '.rope.scaling.type', type, 'none, linear, yarn, longrope')
  }
}

/** Old files have a factor of 1, or of 0, for none. */
function linear (factor: number): Readonly<Record<string, unknown>> | null {
  return factor === 0 || factor === 1 ? null : { rope_type: 'linear', factor }
}

function readYarn (metadata: MetadataFields, original: number): Readonly<Record<string, unknown>> {
  // Each changes the curve in a way that config.json has no field for.
  for (const [key, neutral] of [['.rope.scaling.yarn_ext_factor', 1], ['.rope.scaling.attn_factor', 1], ['.rope.scaling.yarn_log_multiplier', 0]] as const) {
    const value = metadata.optionalNumber(key) ?? neutral
    if (value !== neutral) unsupported(metadata, key, value, String(neutral))
  }
  const optional = (field: string, key: string): Readonly<Record<string, number>> => {
    const value = metadata.optionalNumber(key)
    return value === undefined ? {} : { [field]: value }
  }
  return {
    rope_type: 'yarn',
    factor: metadata.number('.rope.scaling.factor'),
    original_max_position_embeddings: original,
    ...optional('attention_factor', '.rope.scaling.yarn_attn_factor'),
    ...optional('beta_fast', '.rope.scaling.yarn_beta_fast'),
    ...optional('beta_slow', '.rope.scaling.yarn_beta_slow')
  }
}

function refuseLongRope (metadata: MetadataFields): never {
  throw new InvalidCheckpointError(metadata.file, 'scales as longrope does, and rope_factors_long.weight or rope_factors_short.weight is missing')
}

function unsupported (metadata: MetadataFields, key: string, value: unknown, supported: string): never {
  throw new UnsupportedModelError({ field: metadata.architecture + key, value, supported })
}
