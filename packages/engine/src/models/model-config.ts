import { InvalidModelConfigError, UnsupportedModelError } from '../errors.ts'
import { readRotaryConfig } from './rotary.ts'
import type { RotaryConfig } from './rotary.ts'
import { JsonFields } from './json-fields.ts'

/** How a checkpoint says its weights were stored; a hint for people, the tensors' own dtypes decide. */
export type TorchDtype = 'float32' | 'float16' | 'bfloat16'

/** The architecture of one model: every number its computation needs. Frozen. */
export interface ModelConfig extends RotaryConfig {
  readonly architecture: 'LlamaForCausalLM'
  readonly hiddenSize: number
  /** Width of the gated MLP. */
  readonly intermediateSize: number
  readonly numLayers: number
  readonly numHeads: number
  /** Divides `numHeads`; each key/value head serves `numHeads / numKVHeads` query heads. */
  readonly numKVHeads: number
  /** Even. `numHeads · headDim` may differ from `hiddenSize`. */
  readonly headDim: number
  readonly vocabSize: number
  readonly maxPositionEmbeddings: number
  readonly rmsNormEps: number
  /** The output head is the embedding matrix. */
  readonly tieWordEmbeddings: boolean
  /** Empty when the configuration names none. */
  readonly bosTokenIds: readonly number[]
  /** Any of them ends a generation. Empty when the configuration names none. */
  readonly eosTokenIds: readonly number[]
  readonly torchDtype: TorchDtype | undefined
}

// Each bound is several times what the largest published Llama uses, and keeps every product of two of them below 2^53.
const MAX_HIDDEN = 131_072
const MAX_INTERMEDIATE = 1_048_576
const MAX_LAYERS = 1_024
const MAX_HEADS = 1_024
const MAX_HEAD_DIM = 1_024
const MAX_VOCAB = 4_194_304
const MAX_POSITIONS = 16_777_216

/**
 * Reads the contents of a Hugging Face `config.json`.
 * @throws InvalidModelConfigError for a value that no model could mean
 * @throws UnsupportedModelError for anything that changes the computation and is not implemented
 */
export function parseModelConfig (json: unknown): ModelConfig {
  const fields = JsonFields.of(json, '')
  const architecture = readArchitecture(fields)
  refuseUnsupported(fields)
  const hiddenSize = fields.integer('hidden_size', { min: 1, max: MAX_HIDDEN })
  const numHeads = fields.integer('num_attention_heads', { min: 1, max: MAX_HEADS })
  const numKVHeads = fields.integer('num_key_value_heads', { min: 1, max: MAX_HEADS, default: numHeads })
  if (numHeads % numKVHeads !== 0) {
    throw new InvalidModelConfigError({ field: 'num_key_value_heads', value: numKVHeads, expected: `a divisor of num_attention_heads (${numHeads})` })
  }
  const maxPositionEmbeddings = fields.integer('max_position_embeddings', { min: 1, max: MAX_POSITIONS, default: 2048 })
  const vocabSize = fields.integer('vocab_size', { min: 1, max: MAX_VOCAB })
  return Object.freeze({
    architecture,
    hiddenSize,
    intermediateSize: fields.integer('intermediate_size', { min: 1, max: MAX_INTERMEDIATE }),
    numLayers: fields.integer('num_hidden_layers', { min: 1, max: MAX_LAYERS }),
    numHeads,
    numKVHeads,
    headDim: readHeadDim(fields, hiddenSize, numHeads),
    vocabSize,
    maxPositionEmbeddings,
    rmsNormEps: fields.number('rms_norm_eps', { above: 0, max: 0.1, default: 1e-6 }),
    ...readRotaryConfig(fields),
    tieWordEmbeddings: fields.boolean('tie_word_embeddings', false),
    bosTokenIds: fields.tokenIds('bos_token_id', vocabSize),
    eosTokenIds: fields.tokenIds('eos_token_id', vocabSize),
    torchDtype: readTorchDtype(fields)
  })
}

function readArchitecture (fields: JsonFields): ModelConfig['architecture'] {
  const architectures = fields.get('architectures')
  if (!Array.isArray(architectures) || architectures.length === 0) {
    throw new InvalidModelConfigError({ field: 'architectures', value: architectures, expected: 'a list with one architecture' })
  }
  if (architectures.length !== 1 || architectures[0] !== 'LlamaForCausalLM') {
    throw new UnsupportedModelError({ field: 'architectures', value: architectures, supported: 'LlamaForCausalLM' })
  }
  return 'LlamaForCausalLM'
}

function refuseUnsupported (fields: JsonFields): void {
  const refuse = (field: string, supported: string): never => {
    throw new UnsupportedModelError({ field, value: fields.get(field), supported })
  }
  const activation = fields.get('hidden_act') ?? 'silu'
  if (activation !== 'silu' && activation !== 'swish') refuse('hidden_act', 'silu')
  if (fields.boolean('attention_bias', false)) refuse('attention_bias', 'false')
  if (fields.boolean('mlp_bias', false)) refuse('mlp_bias', 'false')
  // Splits the projections for bit-exact agreement with a tensor-parallel training run.
  if (fields.integer('pretraining_tp', { min: 0, max: 1024, default: 1 }) > 1) refuse('pretraining_tp', '1')
  if (fields.get('quantization_config') !== undefined) refuse('quantization_config', 'unquantised f32, f16 and bf16 weights')
  if (fields.get('sliding_window') !== undefined) refuse('sliding_window', 'null')
}

function readHeadDim (fields: JsonFields, hiddenSize: number, numHeads: number): number {
  const headDim = fields.integer('head_dim', { min: 2, max: MAX_HEAD_DIM, default: hiddenSize / numHeads })
  if (headDim % 2 !== 0) {
    throw new InvalidModelConfigError({ field: 'head_dim', value: headDim, expected: 'an even number: rotary embedding turns pairs' })
  }
  return headDim
}

function readTorchDtype (fields: JsonFields): TorchDtype | undefined {
  // `dtype` is the newer spelling; anything else about storage is left to the tensors themselves.
  const dtype = fields.get('torch_dtype') ?? fields.get('dtype')
  return dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16' ? dtype : undefined
}
