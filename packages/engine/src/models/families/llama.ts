import { decoderConfig, refuseField } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Llama 1 to 3.x, and what keeps to its shape (SmolLM2, TinyLlama, Yi, DeepSeek-R1's Llama distillates). */
export const llama: ModelFamily = {
  architectures: ['LlamaForCausalLM'],
  names: llamaNames(),
  parse (architecture, fields) {
    // Splits the projections for bit-exact agreement with a tensor-parallel training run.
    if (fields.integer('pretraining_tp', { min: 0, max: 1024, default: 1 }) > 1) refuseField(fields, 'pretraining_tp', '1')
    if (fields.get('sliding_window') !== undefined) refuseField(fields, 'sliding_window', 'null')
    const bias = fields.boolean('attention_bias', false)
    return decoderConfig(architecture, fields, {
      attention: { qkvBias: bias, outputBias: bias },
      rest: { mlpBias: fields.boolean('mlp_bias', false) }
    })
  }
}
