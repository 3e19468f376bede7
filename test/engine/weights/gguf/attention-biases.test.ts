import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parseModelConfig } from '../../../../packages/engine/src/models/parse-model-config.ts'
import { checkTensors } from '../../../../packages/engine/src/weights/check-tensors.ts'
import { openGguf } from '../../../../packages/engine/src/weights/gguf/index.ts'
import { convertedTensors, huggingFaceModel, metadataOf, TINY } from './converted-model.ts'
import type { Conversion } from './converted-model.ts'
import { writeGguf } from './write-gguf.ts'
import type { WrittenTensor } from './write-gguf.ts'

type Config = Readonly<Record<string, unknown>>

const LLAMA = { architecture: 'llama', permutes: true }
const QWEN2 = { architecture: 'qwen2' }
const llama: Config = { architectures: ['LlamaForCausalLM'], ...TINY }
const qwen2: Config = { architectures: ['Qwen2ForCausalLM'], ...TINY }
const vector = (name: string, length: number): WrittenTensor => ({ name, type: 0, dimensions: [length], bytes: new Uint8Array(4 * length) })

/** Opens a converted model and checks its tensors, as loading does; no metadata speaks of biases. */
async function opened (t: Test, conversion: Conversion, config: Config, change: (tensors: readonly WrittenTensor[]) => readonly WrittenTensor[] = tensors => tensors) {
  const path = join(t.testdir(), 'model.gguf')
  writeFileSync(path, writeGguf({ metadata: metadataOf(conversion.architecture, config), tensors: change(convertedTensors(huggingFaceModel(config), conversion)) }))
  await using model = await openGguf(path)
  const parsed = parseModelConfig(model.config)
  checkTensors(model, parsed)
  return { attention: parsed.attention, names: [...model.tensors.keys()].filter(name => name.endsWith('.bias')).map(name => name.replace(/^model\.layers\.\d+\./, '')) }
}

t.test('a model without biases has none', async t => {
  t.match(await opened(t, LLAMA, llama), { attention: { qkvBias: false, outputBias: false }, names: [] })
})

t.test('biases on all of attention\'s projections, or on all but the output, are told by the tensors', async t => {
  const all = await opened(t, LLAMA, { ...llama, attention_bias: true })
  t.match(all.attention, { qkvBias: true, outputBias: true })
  t.ok(all.names.includes('self_attn.o_proj.bias'))
  const inputs = await opened(t, LLAMA, { ...llama, attention_bias: true, attention_out_bias: false })
  t.match(inputs.attention, { qkvBias: true, outputBias: false })
  t.strictSame(new Set(inputs.names), new Set(['self_attn.q_proj.bias', 'self_attn.k_proj.bias', 'self_attn.v_proj.bias']))
  t.match((await opened(t, LLAMA, { ...llama, attention_out_bias: true })).attention, { qkvBias: false, outputBias: true })
})

t.test('Qwen 2 has biases on queries, keys and values, and no others', async t => {
  t.match((await opened(t, QWEN2, qwen2)).attention, { qkvBias: true, outputBias: false })
  await t.rejects(opened(t, QWEN2, qwen2, tensors => [...tensors, vector('blk.0.attn_output.bias', 16)]), { code: 'ENGINE_INVALID_CHECKPOINT', message: /o_proj.bias": is no part of the model/ })
  await t.rejects(opened(t, QWEN2, qwen2, tensors => tensors.filter(({ name }) => name !== 'blk.1.attn_k.bias')), { code: 'ENGINE_INVALID_CHECKPOINT', message: /layers.1.self_attn.k_proj.bias": is missing/ })
})

t.test('biases that only some of the layers have, or some of the projections, are refused', async t => {
  const biased: Config = { ...llama, attention_bias: true }
  for (const [missing, message] of [
    ['blk.1.attn_q.bias', /layers.1.self_attn.q_proj.bias": is missing/],
    ['blk.0.attn_v.bias', /layers.0.self_attn.v_proj.bias": is missing/],
    ['blk.0.attn_q.bias', /layers.0.self_attn.k_proj.bias": is no part of the model/],
    ['blk.0.attn_output.bias', /layers.1.self_attn.o_proj.bias": is no part of the model/]
  ] as const) {
    await t.rejects(opened(t, LLAMA, biased, tensors => tensors.filter(({ name }) => name !== missing)), { code: 'ENGINE_INVALID_CHECKPOINT', message }, missing)
  }
})
