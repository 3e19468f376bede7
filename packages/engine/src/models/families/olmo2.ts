import { decoderConfig, readAttentionBias, refuseField } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** OLMo 2: norms after attention and MLP, and over the whole query and key projections. */
export const olmo2: ModelFamily = {
  architectures: ['Olmo2ForCausalLM'],
  names: llamaNames('after'),
  defaults: { rms_norm_eps: 1e-5 },
  parse (architecture, fields) {
    if (fields.get('clip_qkv') !== undefined) refuseField(fields, 'clip_qkv', 'null')
    return decoderConfig(architecture, fields, {
      attention: { qkNorm: 'projection', ...readAttentionBias(fields) },
      norm: { placement: 'after' }
    })
  }
}
