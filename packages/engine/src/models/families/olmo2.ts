import { decoderConfig, refuseField } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** OLMo 2: norms after attention and MLP, and over the whole query and key projections. */
export const olmo2: ModelFamily = {
  architectures: ['Olmo2ForCausalLM'],
  names: llamaNames('after'),
  parse (architecture, fields) {
    if (fields.get('clip_qkv') !== undefined) refuseField(fields, 'clip_qkv', 'null')
    const bias = fields.boolean('attention_bias', false)
    return decoderConfig(architecture, fields, {
      attention: { qkNorm: 'projection', qkvBias: bias, outputBias: bias },
      norm: { eps: fields.number('rms_norm_eps', { above: 0, max: 0.1, default: 1e-5 }), placement: 'after' }
    })
  }
}
