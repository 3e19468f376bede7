import { decoderConfig, windowOf } from '../decoder-config.ts'
import type { JsonFields } from '../json-fields.ts'
import { MAX_POSITIONS } from '../rotary.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Qwen 2 and 2.5: biases on queries, keys and values. */
export const qwen2: ModelFamily = {
  architectures: ['Qwen2ForCausalLM'],
  names: llamaNames(),
  defaults: { num_key_value_heads: 32, max_position_embeddings: 32_768, sliding_window: 4096, max_window_layers: 28 },
  parse (architecture, fields) {
    const window = qwenWindow(fields)
    return decoderConfig(architecture, fields, {
      attention: { qkvBias: true },
      layer: layer => ({ window: window(layer) }),
      longestContext: plainAttentionContext(fields)
    })
  }
}

/** Qwen writes a window that is off unless `use_sliding_window` says so; then the first `max_window_layers` still see everything. */
export function qwenWindow (fields: JsonFields): (layer: number) => number | undefined {
  if (!fields.boolean('use_sliding_window', false)) return () => undefined
  const first = fields.integer('max_window_layers', { min: 0, max: 1_024 })
  return windowOf(fields, layer => layer >= first && fields.get('sliding_window') !== undefined)
}

/**
 * Files of the variants for a million tokens ask for dual chunk attention. Within the first chunk, less what chunks share, that is plain
 * attention; beyond it the model would be another. Undefined for all other files.
 */
export function plainAttentionContext (fields: JsonFields): number | undefined {
  const chunks = fields.nested('dual_chunk_attention_config')
  if (chunks === undefined) return undefined
  const size = chunks.integer('chunk_size', { min: 2, max: MAX_POSITIONS, default: 8192 })
  return size - chunks.integer('local_size', { min: 0, max: size - 1, default: 1024 })
}
