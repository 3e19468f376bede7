import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { decoderTensors } from '../../../../packages/engine/src/models/decoder-tensors.ts'
import { openModel } from '../../../../packages/engine/src/models/open-model.ts'
import { parseModelConfig } from '../../../../packages/engine/src/models/parse-model-config.ts'
import { listTensors } from '../../../../packages/engine/src/models/tensor-list.ts'
import { checkTensors } from '../../../../packages/engine/src/weights/check-tensors.ts'
import { withoutZeroBiases } from '../../../../packages/engine/src/weights/quantized/index.ts'
import { aConfig } from '../../models/a-config.ts'
import { writeSafetensors } from '../write-safetensors.ts'
import type { WrittenTensor } from '../write-safetensors.ts'
import { byName, memoryTensor } from './memory-tensors.ts'

const none: ReadonlySet<string> = new Set()
const qweight = memoryTensor('m.qweight', 'I32', [1, 1], new Uint32Array(1))

t.test('a bias of a quantised projection that nobody needs is left out when it is zero, of either sign and in any type', async t => {
  for (const [dtype, values] of [['F16', Uint16Array.of(0, 0x8000, 0)], ['BF16', Uint16Array.of(0x8000, 0, 0)], ['F32', Float32Array.of(0, -0, 0)]] as const) {
    t.strictSame([...(await withoutZeroBiases(byName(qweight, memoryTensor('m.bias', dtype, [3], values)), none, 'dir')).keys()], ['m.qweight'], dtype)
  }
  // More than are read at once.
  const long = memoryTensor('m.bias', 'F16', [70_000], new Uint16Array(70_000))
  t.notOk((await withoutZeroBiases(byName(qweight, long), none, 'dir')).has('m.bias'))
  t.equal(long.bytesRead, 140_000)
})

t.test('one that is not zero is refused by name, wherever the value is', async t => {
  for (const [size, at, value] of [[3, 0, 1], [3, 2, 0x0001], [70_000, 69_999, 0x3c00], [3, 1, 0x7e00]] as const) {
    const values = new Uint16Array(size)
    values[at] = value
    await t.rejects(withoutZeroBiases(byName(qweight, memoryTensor('m.bias', 'F16', [size], values)), none, 'dir'),
      { code: 'ENGINE_INVALID_CHECKPOINT', message: 'dir: tensor "m.bias": holds values that are not zero, and the model\'s configuration gives this projection no bias' })
  }
})

t.test('biases that the model has, and those of what is not quantised, stay unread', async t => {
  const bias = memoryTensor('m.bias', 'F16', [3], new Uint16Array(3))
  const plain = memoryTensor('norm.bias', 'F16', [3], Uint16Array.of(1, 2, 3))
  t.strictSame([...(await withoutZeroBiases(byName(qweight, bias, plain), new Set(['m.bias']), 'dir')).keys()], ['m.qweight', 'm.bias', 'norm.bias'])
  t.equal(bias.bytesRead + plain.bytesRead, 0)
})

/** A checkpoint as AutoGPTQ writes it: every projection of a layer quantised, and with a bias. */
async function opened (t: Test, architecture: string, biasOf: (name: string) => number): Promise<readonly string[]> {
  const config = aConfig(architecture, { quantization_config: { quant_method: 'gptq', bits: 4, group_size: 32, desc_act: false, sym: true } })
  const tensors: Record<string, WrittenTensor> = {}
  const add = (name: string, dtype: 'I32' | 'F16', shape: readonly number[], value = 0): void => {
    const count = shape.reduce((product, size) => product * size, 1)
    tensors[name] = { dtype, shape, bytes: dtype === 'I32' ? new Uint8Array(4 * count) : new Uint8Array(new Uint16Array(count).fill(value).buffer) }
  }
  for (const { name, shape: [rows = 1, columns = 1] } of listTensors(decoderTensors(parseModelConfig(config)))) {
    const module = name.replace(/\.weight$/, '')
    if (name.endsWith('.bias')) continue
    if (!/_proj\.weight$/.test(name)) {
      add(name, 'F16', columns === 1 ? [rows] : [rows, columns])
      continue
    }
    add(`${module}.qweight`, 'I32', [columns / 8, rows])
    add(`${module}.qzeros`, 'I32', [columns / 32, rows / 8])
    add(`${module}.scales`, 'F16', [columns / 32, rows])
    add(`${module}.bias`, 'F16', [rows], biasOf(module))
  }
  const directory = t.testdir({ 'config.json': JSON.stringify(config) })
  writeFileSync(join(directory, 'model.safetensors'), writeSafetensors(tensors))
  await using model = await openModel({ type: 'directory', path: directory })
  checkTensors(model.source, model.config)
  return [...model.source.tensors.keys()].filter(name => name.endsWith('.bias'))
}

t.test('a model whose family has no biases opens without those of AutoGPTQ, one whose family has some keeps them', async t => {
  t.strictSame(await opened(t, 'LlamaForCausalLM', () => 0), [])
  const kept = await opened(t, 'Qwen2ForCausalLM', module => /[qkv]_proj$/.test(module) ? 0x3c00 : 0)
  t.strictSame(new Set(kept.map(name => name.replace(/^model\.layers\.\d\./, ''))), new Set(['self_attn.q_proj.bias', 'self_attn.k_proj.bias', 'self_attn.v_proj.bias']))
  await t.rejects(opened(t, 'Qwen2ForCausalLM', module => module.endsWith('o_proj') ? 0x3c00 : 0), { code: 'ENGINE_INVALID_CHECKPOINT', message: /o_proj.bias": holds values that are not zero/ })
})
