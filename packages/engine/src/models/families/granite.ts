import { decoderConfig, readAttentionBias } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Granite 3: a Llama with multipliers on embeddings, scores, residual branches and logits. */
export const granite: ModelFamily = {
  architectures: ['GraniteForCausalLM'],
  names: llamaNames(),
  parse (architecture, fields) {
    const multiplier = (field: string): number => fields.number(field, { above: 0, max: 1e6, default: 1 })
    return decoderConfig(architecture, fields, {
      attention: { scale: multiplier('attention_multiplier'), ...readAttentionBias(fields) },
      rest: {
        mlpBias: fields.boolean('mlp_bias', false),
        embeddingScale: multiplier('embedding_multiplier'),
        residualScale: multiplier('residual_multiplier'),
        logitScale: 1 / multiplier('logits_scaling')
      }
    })
  }
}
