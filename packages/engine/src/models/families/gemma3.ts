import { decoderConfig, readActivation, readAttentionBias, readHeads, readMaxPositions, refuseField, windowOf } from '../decoder-config.ts'
import { JsonFields } from '../json-fields.ts'
import type { ModelConfig } from '../model-config.ts'
import { readRotaryConfig, readRotaryFields } from '../read-rotary.ts'
import type { RotaryContext } from '../read-rotary.ts'
import type { RotaryConfig } from '../rotary.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

const SIXTH_IS_GLOBAL = 6

/** Of Gemma3TextConfig. The files of the models that also see rely on most of them. */
const defaults = Object.freeze({
  vocab_size: 262_208,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  max_position_embeddings: 131_072,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  rope_theta: 1_000_000,
  rope_local_base_freq: 10_000
})

/** Gemma 3's text model: five layers with a window and rotary base of their own to each that sees everything; normalised heads. */
export const gemma3: ModelFamily = {
  architectures: ['Gemma3ForCausalLM'],
  names: llamaNames('around'),
  defaults,
  parse: gemma3Config
}

/** The text part of the models that also see; their vision tower is left out. */
export const gemma3Vision: ModelFamily = {
  architectures: ['Gemma3ForConditionalGeneration'],
  names: { ...llamaNames('around'), prefix: 'language_model.model.', head: 'language_model.lm_head', ignored: /^(model\.)?(vision_tower|multi_modal_projector)\./ },
  parse (architecture, fields) {
    const text = fields.get('text_config')
    if (typeof text !== 'object' || text === null) refuseField(fields, 'text_config', 'an object')
    // What is the whole model's may stand beside the text's own fields.
    const outer = Object.fromEntries(['bos_token_id', 'eos_token_id', 'tie_word_embeddings', 'torch_dtype', 'dtype'].map(field => [field, fields.get(field)]))
    return gemma3Config(architecture, JsonFields.of(text, 'text_config.', { ...defaults, ...outer }))
  }
}

function gemma3Config (architecture: string, fields: JsonFields): ModelConfig {
  const context = { headDim: readHeads(fields).headDim, maxPositionEmbeddings: readMaxPositions(fields) }
  if (fields.boolean('use_bidirectional_attention', false)) refuseField(fields, 'use_bidirectional_attention', 'false')
  const pattern = fields.integer(fields.get('_sliding_window_pattern') === undefined ? 'sliding_window_pattern' : '_sliding_window_pattern', { min: 1, max: 1_024, default: SIXTH_IS_GLOBAL })
  const window = windowOf(fields, layer => (layer + 1) % pattern !== 0)
  return decoderConfig(architecture, fields, {
    attention: {
      scale: fields.number('query_pre_attn_scalar', { above: 0, max: 1e6 }) ** -0.5,
      softcap: fields.optionalNumber('attn_logit_softcapping', { above: 0, max: 1e6 }),
      qkNorm: 'head',
      ...readAttentionBias(fields)
    },
    norm: { placement: 'around', addsOne: true },
    layer: layer => {
      const own = window(layer)
      return { window: own, rotary: own === undefined ? 0 : 1 }
    },
    tieWordEmbeddings: true,
    rest: {
      activation: readActivation(fields, 'hidden_activation', 'gelu_pytorch_tanh'),
      rotaries: gemma3Rotaries(fields, context),
      embeddingScale: Math.sqrt(fields.integer('hidden_size', { min: 1, max: 131_072 })),
      logitSoftcap: fields.optionalNumber('final_logit_softcapping', { above: 0, max: 1e6 })
    }
  })
}

/** Global, then local: two parameter sets in the newer spelling, `rope_theta` with `rope_scaling` and `rope_local_base_freq` in the older. */
function gemma3Rotaries (fields: JsonFields, context: RotaryContext): readonly RotaryConfig[] {
  const sets = fields.nested('rope_parameters')
  const localTheta = fields.number('rope_local_base_freq', { above: 0, max: 1e15 })
  return [
    readRotaryConfig(fields, context, sets?.nested('full_attention') ?? sets),
    readRotaryFields(JsonFields.of({ rope_theta: localTheta }, ''), sets?.nested('sliding_attention'), context)
  ]
}
