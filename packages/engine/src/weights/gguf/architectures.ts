import { UnsupportedModelError } from '../../errors.ts'
import { gemma2Fields, gemma3Fields, graniteFields, mixtralFields, olmo2Fields, phi3Fields, qwen3MoeFields, smollm3Fields } from './family-fields.ts'
import type { ModelShape } from './model-shape.ts'
import type { MetadataFields } from './metadata-fields.ts'

/** Hugging Face's names of a mixture's tensors, below `model.layers.N.`. */
export interface ExpertNames {
  readonly router: string
  readonly gate: (expert: number) => string
  readonly up: (expert: number) => string
  readonly down: (expert: number) => string
}

/** How llama.cpp's converter writes one architecture, and so what has to be undone. */
export interface GgufArchitecture {
  /** As `general.architecture` has it. */
  readonly name: string
  /** The architecture and model_type of config.json. */
  readonly model: (metadata: MetadataFields) => { readonly architecture: string, readonly modelType: string }
  /**
   * Which dimensions of a head the runtime rotates together. Where they are adjacent the converter has interleaved the rows of
   * queries and keys; Hugging Face's code pairs the two halves of a head.
   */
  readonly rotates: 'adjacent' | 'halves'
  /** What the converter added to every norm's weights. */
  readonly normShift: number
  readonly mlpNorm: 'post_attention_layernorm' | 'pre_feedforward_layernorm'
  /** `ffn_up` holds the gate's rows and then the up projection's. */
  readonly fusesGateAndUp: boolean
  readonly experts: ExpertNames
  /** Of every norm, where a file need not say. */
  readonly normEps?: number
  /** Tensors that play no part in generating text. llama.cpp keeps the encoder of images in a file of its own, Ollama in the model's. */
  readonly ignored?: RegExp
  /** What config.json says of this family beside the fields all have. */
  readonly fields: (metadata: MetadataFields, shape: ModelShape) => Readonly<Record<string, unknown>>
}

const MIXTRAL_EXPERTS: ExpertNames = {
  router: 'block_sparse_moe.gate',
  gate: expert => `block_sparse_moe.experts.${expert}.w1`,
  up: expert => `block_sparse_moe.experts.${expert}.w3`,
  down: expert => `block_sparse_moe.experts.${expert}.w2`
}

const QWEN_EXPERTS: ExpertNames = {
  router: 'mlp.gate',
  gate: expert => `mlp.experts.${expert}.gate_proj`,
  up: expert => `mlp.experts.${expert}.up_proj`,
  down: expert => `mlp.experts.${expert}.down_proj`
}

const named = (architecture: string, modelType: string) => () => ({ architecture, modelType })

/** Mistral and Mixtral are written as llama; only what they have more than it tells them apart. */
function llamaModel (metadata: MetadataFields): ReturnType<GgufArchitecture['model']> {
  if ((metadata.optionalInteger('.expert_count', 0) ?? 0) > 0) return { architecture: 'MixtralForCausalLM', modelType: 'mixtral' }
  if (metadata.architecture === 'mistral' || (metadata.optionalInteger('.attention.sliding_window', 0) ?? 0) > 0) {
    return { architecture: 'MistralForCausalLM', modelType: 'mistral' }
  }
  return { architecture: 'LlamaForCausalLM', modelType: 'llama' }
}

/** OLMo 3 is written as olmo2 with a window. */
function olmoModel (metadata: MetadataFields): ReturnType<GgufArchitecture['model']> {
  return metadata.has('.attention.sliding_window') ? { architecture: 'Olmo3ForCausalLM', modelType: 'olmo3' } : { architecture: 'Olmo2ForCausalLM', modelType: 'olmo2' }
}

const plain = { rotates: 'halves', normShift: 0, mlpNorm: 'post_attention_layernorm', fusesGateAndUp: false, experts: QWEN_EXPERTS, fields: () => ({}) } as const
const llama = { ...plain, rotates: 'adjacent', model: llamaModel, experts: MIXTRAL_EXPERTS, fields: mixtralFields } as const
const gemma = { ...plain, normShift: 1, mlpNorm: 'pre_feedforward_layernorm' } as const

/**
 * @see https://github.com/ggml-org/llama.cpp: the converter's model classes say what is permuted, added and fused, `llama_rope_type`
 * how each architecture rotates
 */
const ARCHITECTURES: readonly GgufArchitecture[] = Object.freeze([
  { ...llama, name: 'llama' },
  { ...llama, name: 'mistral' },
  { ...plain, name: 'qwen2', model: named('Qwen2ForCausalLM', 'qwen2') },
  { ...plain, name: 'qwen3', model: named('Qwen3ForCausalLM', 'qwen3') },
  { ...plain, name: 'qwen3moe', model: named('Qwen3MoeForCausalLM', 'qwen3_moe'), fields: qwen3MoeFields },
  { ...gemma, name: 'gemma2', model: named('Gemma2ForCausalLM', 'gemma2'), fields: gemma2Fields },
  { ...gemma, name: 'gemma3', model: named('Gemma3ForCausalLM', 'gemma3_text'), normEps: 1e-6, ignored: /^(v|mm)\./, fields: gemma3Fields },
  { ...plain, name: 'phi3', model: named('Phi3ForCausalLM', 'phi3'), fusesGateAndUp: true, fields: phi3Fields },
  { ...plain, name: 'smollm3', model: named('SmolLM3ForCausalLM', 'smollm3'), rotates: 'adjacent', fields: smollm3Fields },
  { ...plain, name: 'olmo2', model: olmoModel, fields: olmo2Fields },
  { ...plain, name: 'granite', model: named('GraniteForCausalLM', 'granite'), rotates: 'adjacent', fields: graniteFields }
])

/** @throws UnsupportedModelError naming the known ones */
export function ggufArchitecture (metadata: MetadataFields): GgufArchitecture {
  const found = ARCHITECTURES.find(({ name }) => name === metadata.architecture)
  if (found !== undefined) return found
  const supported = ARCHITECTURES.map(({ name }) => name).join(', ')
  throw new UnsupportedModelError({ field: 'general.architecture', value: metadata.architecture, supported })
}
