import { InvalidModelConfigError, UnsupportedModelError } from '../errors.ts'
import type { JsonFields } from './json-fields.ts'
import type { AttentionConfig, LayerConfig, ModelConfig, NormConfig, TorchDtype } from './model-config.ts'
import { readRotaryConfig } from './read-rotary.ts'
import { MAX_POSITIONS, longestContext } from './rotary.ts'

/** What a family adds to the fields that all of them write alike. */
export interface FamilyTraits {
  readonly attention?: Partial<AttentionConfig>
  readonly norm?: Partial<NormConfig>
  readonly layer?: (layer: number) => Partial<LayerConfig>
  /** The family's default, where the file may leave it out. */
  readonly tieWordEmbeddings?: boolean
  /** The longest context that can be computed, where the file names a longer one. */
  readonly longestContext?: number | undefined
  readonly rest?: Partial<Pick<ModelConfig,
    'activation' | 'rotaries' | 'mlpBias' | 'experts' | 'embeddingScale' | 'residualScale' | 'logitScale' | 'logitSoftcap'>>
}

// Each bound is several times what the largest published model uses, and keeps every product of two of them below 2^53.
const MAX_HIDDEN = 131_072
const MAX_INTERMEDIATE = 1_048_576
const MAX_LAYERS = 1_024
const MAX_HEADS = 1_024
const MAX_HEAD_DIM = 1_024
const MAX_VOCAB = 4_194_304

/**
 * The configuration of a decoder: common fields from the file, the rest from the family.
 * @throws InvalidModelConfigError for a value that no model could mean
 */
export function decoderConfig (architecture: string, fields: JsonFields, traits: FamilyTraits): ModelConfig {
  const { attention, norm, rest = {} } = traits
  const hiddenSize = fields.integer('hidden_size', { min: 1, max: MAX_HIDDEN })
  const { numHeads, numKVHeads, headDim } = readHeads(fields)
  const maxPositionEmbeddings = readMaxPositions(fields)
  const vocabSize = fields.integer('vocab_size', { min: 1, max: MAX_VOCAB })
  const rotaries = rest.rotaries ?? [readRotaryConfig(fields, { headDim, maxPositionEmbeddings })]
  const layers = Array.from({ length: readNumLayers(fields) }, (_, layer): LayerConfig =>
    Object.freeze({ window: undefined, rotary: 0, mlp: 'dense', ...traits.layer?.(layer) }))
  return Object.freeze({
    architecture,
    hiddenSize,
    intermediateSize: fields.integer('intermediate_size', { min: 1, max: MAX_INTERMEDIATE }),
    numHeads,
    numKVHeads,
    headDim,
    vocabSize,
    maxPositionEmbeddings: Math.min(longestContext(rotaries[0] ?? { theta: 1, dim: 2, scaling: undefined }, maxPositionEmbeddings), traits.longestContext ?? Infinity),
    layers: Object.freeze(layers),
    rotaries: Object.freeze(rotaries),
    attention: Object.freeze({ scale: headDim ** -0.5, softcap: undefined, qkvBias: false, outputBias: false, qkNorm: undefined, ...attention }),
    norm: Object.freeze({ eps: fields.number('rms_norm_eps', { above: 0, max: 0.1, default: 1e-6 }), placement: 'before', addsOne: false, ...norm }),
    activation: rest.activation ?? readActivation(fields, fields.get('hidden_activation') === undefined ? 'hidden_act' : 'hidden_activation', 'silu'),
    mlpBias: rest.mlpBias ?? false,
    experts: rest.experts === undefined ? undefined : Object.freeze(rest.experts),
    embeddingScale: rest.embeddingScale ?? 1,
    residualScale: rest.residualScale ?? 1,
    logitScale: rest.logitScale ?? 1,
    logitSoftcap: rest.logitSoftcap,
    tieWordEmbeddings: fields.boolean('tie_word_embeddings', traits.tieWordEmbeddings ?? false),
    bosTokenIds: fields.tokenIds('bos_token_id', vocabSize),
    eosTokenIds: fields.tokenIds('eos_token_id', vocabSize),
    torchDtype: readTorchDtype(fields)
  })
}

export function readNumLayers (fields: JsonFields): number {
  return fields.integer('num_hidden_layers', { min: 1, max: MAX_LAYERS })
}

export function readMaxPositions (fields: JsonFields): number {
  return fields.integer('max_position_embeddings', { min: 1, max: MAX_POSITIONS, default: 2048 })
}

/** Heads and their size, which a family may need before the rest. */
export function readHeads (fields: JsonFields): { readonly numHeads: number, readonly numKVHeads: number, readonly headDim: number } {
  const hiddenSize = fields.integer('hidden_size', { min: 1, max: MAX_HIDDEN })
  const numHeads = fields.integer('num_attention_heads', { min: 1, max: MAX_HEADS })
  const numKVHeads = fields.integer('num_key_value_heads', { min: 1, max: MAX_HEADS, default: numHeads })
  if (numHeads % numKVHeads !== 0) {
    throw new InvalidModelConfigError({ field: 'num_key_value_heads', value: numKVHeads, expected: `a divisor of num_attention_heads (${numHeads})` })
  }
  const headDim = fields.integer('head_dim', { min: 2, max: MAX_HEAD_DIM, default: hiddenSize / numHeads })
  if (headDim % 2 !== 0) {
    throw new InvalidModelConfigError({ field: 'head_dim', value: headDim, expected: 'an even number: rotary embedding turns pairs' })
  }
  return { numHeads, numKVHeads, headDim }
}

/**
 * Biases of attention's projections. Transformers' families have one field for all four; `attention_out_bias`, as Seed-OSS calls it,
 * stands for the output's where that is not like the others, which GGUF files of Llamas may say.
 */
export function readAttentionBias (fields: JsonFields): Pick<AttentionConfig, 'qkvBias' | 'outputBias'> {
  const qkvBias = fields.boolean('attention_bias', false)
  return { qkvBias, outputBias: fields.boolean('attention_out_bias', qkvBias) }
}

/** Experts of a mixture, under the family's own name for their number. */
export function readExpertCounts (fields: JsonFields, countField: string): { readonly count: number, readonly perToken: number } {
  const count = fields.integer(countField, { min: 1, max: 256 })
  return { count, perToken: fields.integer('num_experts_per_tok', { min: 1, max: Math.min(16, count) }) }
}

/** Refuses a field that changes the computation. @throws UnsupportedModelError */
export function refuseField (fields: JsonFields, field: string, supported: string): never {
  throw new UnsupportedModelError({ field, value: fields.get(field), supported })
}

/**
 * The window of each layer, from `layer_types` where the file lists them, else by the family's rule. A model whose layers slide
 * must say how far.
 */
export function windowOf (fields: JsonFields, slides: (layer: number) => boolean): (layer: number) => number | undefined {
  const types = fields.get('layer_types')
  if (types !== undefined && (!Array.isArray(types) || types.length !== readNumLayers(fields))) {
    throw new InvalidModelConfigError({ field: 'layer_types', value: types, expected: 'one entry per layer' })
  }
  return layer => {
    const type: unknown = Array.isArray(types) ? types[layer] : undefined
    if (type !== undefined && type !== 'sliding_attention' && type !== 'full_attention') {
      throw new UnsupportedModelError({ field: 'layer_types', value: type, supported: 'sliding_attention and full_attention' })
    }
    const isSliding = type === undefined ? slides(layer) : type === 'sliding_attention'
    return isSliding ? fields.integer('sliding_window', { min: 1, max: MAX_POSITIONS }) : undefined
  }
}

/** The gate's activation. @throws UnsupportedModelError */
export function readActivation (fields: JsonFields, field: string, otherwise: string): ModelConfig['activation'] {
  const activation = fields.get(field) ?? otherwise
  if (activation === 'silu' || activation === 'swish') return 'silu'
  if (activation === 'gelu_pytorch_tanh') return 'gelu-tanh'
  return refuseField(fields, field, 'silu and gelu_pytorch_tanh')
}

function readTorchDtype (fields: JsonFields): TorchDtype | undefined {
  // `dtype` is the newer spelling; anything else about storage is left to the tensors themselves.
  const dtype = fields.get('torch_dtype') ?? fields.get('dtype')
  return dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16' ? dtype : undefined
}
