import { decoderConfig, readActivation, readAttentionBias, refuseField, windowOf } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Gemma 2: soft-caps, norms before and after, scaled embeddings, and a window in every other layer. */
export const gemma2: ModelFamily = {
  architectures: ['Gemma2ForCausalLM'],
  names: llamaNames('around'),
  defaults: {
    num_key_value_heads: 4,
    head_dim: 256,
    max_position_embeddings: 8192,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30
  },
  parse (architecture, fields) {
    const window = windowOf(fields, layer => layer % 2 === 0)
    if (fields.boolean('use_bidirectional_attention', false)) refuseField(fields, 'use_bidirectional_attention', 'false')
    return decoderConfig(architecture, fields, {
      attention: {
        scale: fields.number('query_pre_attn_scalar', { above: 0, max: 1e6 }) ** -0.5,
        softcap: fields.optionalNumber('attn_logit_softcapping', { above: 0, max: 1e6 }),
        ...readAttentionBias(fields)
      },
      norm: { placement: 'around', addsOne: true },
      layer: layer => ({ window: window(layer) }),
      tieWordEmbeddings: true,
      rest: {
        activation: readActivation(fields, 'hidden_activation', 'gelu_pytorch_tanh'),
        embeddingScale: Math.sqrt(fields.integer('hidden_size', { min: 1, max: 131_072 })),
        logitSoftcap: fields.optionalNumber('final_logit_softcapping', { above: 0, max: 1e6 })
      }
    })
  }
}
