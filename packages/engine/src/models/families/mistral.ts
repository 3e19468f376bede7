import { decoderConfig, windowOf } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Mistral: a Llama whose layers, in its first version, see a window of tokens. */
export const mistral: ModelFamily = {
  architectures: ['MistralForCausalLM'],
  names: llamaNames(),
  defaults: { num_key_value_heads: 8, max_position_embeddings: 131_072, sliding_window: 4096 },
  parse (architecture, fields) {
    const window = windowOf(fields, () => fields.get('sliding_window') !== undefined)
    return decoderConfig(architecture, fields, { layer: layer => ({ window: window(layer) }) })
  }
}
