import { decoderConfig, readHeads, refuseField, windowOf } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Gemma 2: soft-caps, norms before and after, scaled embeddings, and a window in every other layer. */
export const gemma2: ModelFamily = {
  architectures: ['Gemma2ForCausalLM'],
  names: llamaNames('around'),
  parse (architecture, fields) {
    const { headDim } = readHeads(fields)
    const bias = fields.boolean('attention_bias', false)
    const window = windowOf(fields, layer => layer % 2 === 0, { default: 4096 })
    if (fields.boolean('use_bidirectional_attention', false)) refuseField(fields, 'use_bidirectional_attention', 'false')
    return decoderConfig(architecture, fields, {
      attention: {
        scale: fields.number('query_pre_attn_scalar', { above: 0, max: 1e6, default: headDim }) ** -0.5,
        softcap: fields.optionalNumber('attn_logit_softcapping', { above: 0, max: 1e6 }),
        qkvBias: bias,
        outputBias: bias
      },
      norm: { placement: 'around', addsOne: true },
      layer: layer => ({ window: window(layer) }),
      tieWordEmbeddings: true,
      rest: {
        activation: 'gelu-tanh',
        embeddingScale: Math.sqrt(fields.integer('hidden_size', { min: 1, max: 131_072 })),
        logitSoftcap: fields.optionalNumber('final_logit_softcapping', { above: 0, max: 1e6 })
      }
    })
  }
}
