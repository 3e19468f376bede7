import { decoderConfig, readAttentionBias, refuseField } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Llama 1 to 3.x, and what keeps to its shape (SmolLM2, TinyLlama, Yi, DeepSeek-R1's Llama distillates). */
export const llama: ModelFamily = {
  architectures: ['LlamaForCausalLM'],
  names: llamaNames(),
  parse (architecture, fields) {
    if (fields.get('sliding_window') !== undefined) refuseField(fields, 'sliding_window', 'null')
    return decoderConfig(architecture, fields, {
      attention: readAttentionBias(fields),
      rest: { mlpBias: fields.boolean('mlp_bias', false) }
    })
  }
}
