import { decoderConfig, readNumLayers, windowOf } from '../decoder-config.ts'
import type { JsonFields } from '../json-fields.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Qwen 2 and 2.5: biases on queries, keys and values. */
export const qwen2: ModelFamily = {
  architectures: ['Qwen2ForCausalLM'],
  names: llamaNames(),
  parse (architecture, fields) {
    const window = qwenWindow(fields)
    return decoderConfig(architecture, fields, { attention: { qkvBias: true }, layer: layer => ({ window: window(layer) }) })
  }
}

/** Qwen writes a window that is off unless `use_sliding_window` says so; then the first `max_window_layers` still see everything. */
export function qwenWindow (fields: JsonFields): (layer: number) => number | undefined {
  if (!fields.boolean('use_sliding_window', false)) return () => undefined
  const first = fields.integer('max_window_layers', { min: 0, max: 1_024, default: readNumLayers(fields) })
  return windowOf(fields, layer => layer >= first)
}
