import { UnsupportedModelError } from '../../errors.ts'
import type { GgufArchitecture } from './architectures.ts'
import type { GgufTensorEntry } from './tensor-infos.ts'
import type { MetadataFields } from './metadata-fields.ts'
import type { ModelShape } from './model-shape.ts'
import { readRopeScaling } from './rope-scaling.ts'
import type { RopeFactors } from './rope-scaling.ts'

const NORM_EPS = '.attention.layer_norm_rms_epsilon'

/** What a configuration is made of beside the metadata. */
export interface ConfigSources {
  readonly architecture: GgufArchitecture
  readonly shape: ModelShape
  /** Of all parts, by their GGUF names. */
  readonly tensors: ReadonlyMap<string, GgufTensorEntry>
  readonly factors: RopeFactors
}

/**
 * A GGUF file's metadata in the form of a Hugging Face `config.json`.
 * @throws InvalidCheckpointError when something is missing or of the wrong type
 * @throws UnsupportedModelError for what no field of a config.json says
 */
export function ggufConfig (metadata: MetadataFields, { architecture, shape, tensors, factors }: ConfigSources): Record<string, unknown> {
  refuseUnsupported(metadata, architecture, shape)
  const model = architecture.model(metadata)
  const maxPositionEmbeddings = metadata.integer('.context_length', 1)
  const window = metadata.optionalInteger('.attention.sliding_window', 0) ?? 0
  return {
    architectures: [model.architecture],
    model_type: model.modelType,
    hidden_act: 'silu',
    hidden_size: shape.hiddenSize,
    intermediate_size: metadata.integer('.feed_forward_length', 1),
    num_hidden_layers: shape.numLayers,
    num_attention_heads: shape.numHeads,
    num_key_value_heads: shape.numKVHeads,
    head_dim: shape.headDim,
    vocab_size: shape.vocabSize,
    max_position_embeddings: maxPositionEmbeddings,
    rms_norm_eps: metadata.optionalNumber(NORM_EPS) ?? architecture.normEps ?? metadata.number(NORM_EPS),
    rope_theta: metadata.optionalNumber('.rope.freq_base') ?? 10_000,
    rope_scaling: readRopeScaling(metadata, factors, maxPositionEmbeddings),
    ...shape.rotaryDim === shape.headDim ? {} : { partial_rotary_factor: partialFactor(shape) },
    sliding_window: window === 0 ? null : window,
    attention_bias: tensors.has('blk.0.attn_q.bias'),
    attention_out_bias: tensors.has('blk.0.attn_output.bias'),
    mlp_bias: tensors.has('blk.0.ffn_down.bias'),
    tie_word_embeddings: !tensors.has('output.weight'),
    ...tokenIds(metadata),
    ...architecture.fields(metadata, shape)
  }
}

function refuseUnsupported (metadata: MetadataFields, { rotates }: GgufArchitecture, { headDim, rotaryDim }: ModelShape): void {
  const unsupported = (key: string, value: unknown, supported: string): never => {
    throw new UnsupportedModelError({ field: metadata.architecture + key, value, supported })
  }
  if (metadata.boolean('.attention.causal') === false) unsupported('.attention.causal', false, 'true')
  const clamp = metadata.optionalNumber('.attention.clamp_kqv') ?? 0
  if (clamp > 0) unsupported('.attention.clamp_kqv', clamp, '0')
  // The interleaving is undone over whole heads.
  if (rotates === 'adjacent' && rotaryDim !== headDim) unsupported('.rope.dimension_count', rotaryDim, String(headDim))
}

/** A factor whose product with the head's size, rounded down, is the number of rotated dimensions. */
function partialFactor ({ headDim, rotaryDim }: ModelShape): number {
  const factor = rotaryDim / headDim
  return Math.floor(headDim * factor) === rotaryDim ? factor : (rotaryDim + 0.5) / headDim
}

/** Ends of a turn and of a message end generation as the end of the sequence does. */
function tokenIds (metadata: MetadataFields): Readonly<Record<string, unknown>> {
  const id = (kind: string): number | undefined => metadata.optionalInteger(`tokenizer.ggml.${kind}_token_id`, 0)
  const bos = id('bos')
  const ends = [...new Set(['eos', 'eot', 'eom'].map(id).filter(end => end !== undefined))]
  return { bos_token_id: bos ?? null, eos_token_id: ends.length > 1 ? ends : ends[0] ?? null }
}
