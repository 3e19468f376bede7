import { decoderConfig, readAttentionBias, windowOf } from '../decoder-config.ts'
import { InvalidModelConfigError } from '../../errors.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

const EVERY_FOURTH = 4

/** SmolLM3: every fourth layer knows no positions (NoPE). */
export const smollm3: ModelFamily = {
  architectures: ['SmolLM3ForCausalLM'],
  names: llamaNames(),
  defaults: { num_key_value_heads: 4, max_position_embeddings: 32_768, rope_theta: 2_000_000 },
  parse (architecture, fields) {
    const interval = fields.integer('no_rope_layer_interval', { min: 1, max: 1_024, default: EVERY_FOURTH })
    // Named for the opposite of what it lists: 1 is a layer that turns.
    const turns = fields.get('no_rope_layers')
    if (turns !== undefined && (!Array.isArray(turns) || turns.length !== fields.get('num_hidden_layers') || turns.some(turn => turn !== 0 && turn !== 1))) {
      throw new InvalidModelConfigError({ field: 'no_rope_layers', value: turns, expected: 'a 0 or 1 per layer' })
    }
    const rotates = (layer: number): boolean => Array.isArray(turns) ? turns[layer] === 1 : (layer + 1) % interval !== 0
    const slides = fields.boolean('use_sliding_window', false)
    const window = slides ? windowOf(fields, layer => fields.get('sliding_window') !== undefined && !rotates(layer)) : () => undefined
    return decoderConfig(architecture, fields, {
      attention: readAttentionBias(fields),
      layer: layer => ({ window: window(layer), rotary: rotates(layer) ? 0 : undefined }),
      tieWordEmbeddings: true,
      rest: { mlpBias: fields.boolean('mlp_bias', false) }
    })
  }
}
