import t from 'tap'
import { rowsBatch } from '../../../packages/engine/src/bench/bench-batches.ts'
import { unitsOf } from '../../../packages/engine/src/bench/bench-model.ts'
import type { Dispatch } from '../../../packages/engine/src/kernels/command-list.ts'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { aConfig } from '../models/a-config.ts'
import { openRecordingDecoder, tensorCores } from '../recording-decoder.ts'

const NUM_LAYERS = 4

t.test('every unit of a step has dispatches, also where the first layer\'s label is its own', async t => {
  const config = parseModelConfig(aConfig('LlamaForCausalLM', { hidden_size: 384, intermediate_size: 1024, num_attention_heads: 6, head_dim: 64, max_position_embeddings: 4096, num_hidden_layers: NUM_LAYERS }))
  const { limits, record } = await openRecordingDecoder(t, config, tensorCores)
  const { dispatches } = record(rowsBatch(64, 64, limits))
  const numUnits = (label: string): number => unitsOf(dispatches, label, NUM_LAYERS).length
  for (const label of new Set(dispatches.map(({ label }) => label))) {
    const units = unitsOf(dispatches, label, NUM_LAYERS)
    t.ok(units.length > 0 && units.every(unit => unit.length > 0), label)
    t.strictSame(units.flat(), dispatches.filter(dispatch => dispatch.label === label), `each dispatch of ${label} is in one unit`)
  }
  t.equal(numUnits('embedding normed'), 1)
  t.equal(numUnits('attention_norm summed'), NUM_LAYERS - 1)
  t.equal(numUnits('gate_up behind norm'), NUM_LAYERS)
  t.equal(numUnits('final_norm summed'), 1)
})

t.test('dispatches of a weight in several buffers are one unit', async t => {
  const [a, b, c, d] = [0, 1, 2, 3].map(part => ({ label: 'qkv', grid: [part, 1, 1] }) as unknown as Dispatch)
  const heads = [0, 1].map(part => ({ label: 'head normed', grid: [part, 1, 1] }) as unknown as Dispatch)
  const all = [a, b, c, d, ...heads].filter(dispatch => dispatch !== undefined)
  t.strictSame(unitsOf(all, 'qkv', 2), [[a, b], [c, d]])
  t.strictSame(unitsOf(all, 'head normed', 2), [heads])
  t.strictSame(unitsOf(all, 'down', 2), [])
})
