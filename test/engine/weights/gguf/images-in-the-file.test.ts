import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parseModelConfig } from '../../../../packages/engine/src/models/parse-model-config.ts'
import { checkTensors } from '../../../../packages/engine/src/weights/check-tensors.ts'
import { openGguf } from '../../../../packages/engine/src/weights/gguf/index.ts'
import { convertedTensors, huggingFaceModel, metadataOf, TINY } from './converted-model.ts'
import type { Conversion } from './converted-model.ts'
import { f32, text, writeGguf } from './write-gguf.ts'
import type { WrittenTensor, WrittenValue } from './write-gguf.ts'

type Metadata = ReadonlyArray<readonly [string, WrittenValue]>

const GEMMA3: Conversion = { architecture: 'gemma3', addsOne: true }
const gemma3 = { architectures: ['Gemma3ForCausalLM'], ...TINY, num_hidden_layers: 7, head_dim: 8, tie_word_embeddings: true, query_pre_attn_scalar: 8, sliding_window: 16, rms_norm_eps: 1e-6, rope_theta: 1_000_000 }
const tensor = (name: string): WrittenTensor => ({ name, type: 0, dimensions: [4], bytes: new Uint8Array(16) })
const images = ['v.patch_embedding.weight', 'v.blk.0.attn_q.bias', 'mm.mm_input_projection.weight', 'mm.mm_soft_emb_norm.weight'].map(tensor)

async function opened (t: Test, conversion: Conversion, config: Readonly<Record<string, unknown>>, tensors: readonly WrittenTensor[], change: (metadata: Metadata) => Metadata = metadata => metadata) {
  const path = join(t.testdir(), 'model.gguf')
  writeFileSync(path, writeGguf({ metadata: change(metadataOf(conversion.architecture, config)), tensors: [...convertedTensors(huggingFaceModel(config), conversion), ...tensors] }))
  await using model = await openGguf(path)
  const parsed = parseModelConfig(model.config)
  checkTensors(model, parsed)
  return { names: [...model.tensors.keys()], parsed, config: model.config }
}

/** As Ollama's converter writes the models that see: without the norms' epsilon, and its own names for the bases or none. */
const asOllama = (...bases: Metadata) => (metadata: Metadata): Metadata => [...metadata.filter(([key]) => !/layer_norm_rms_epsilon|freq_base/.test(key)), ...bases]

t.test('the encoder of images in a Gemma 3 file is left out', async t => {
  const scaling: Metadata = [['gemma3.rope.scaling.type', text('linear')], ['gemma3.rope.scaling.factor', f32(8)]]
  const plain = await opened(t, GEMMA3, gemma3, [], metadata => [...metadata, ...scaling])
  const seeing = await opened(t, GEMMA3, gemma3, images, metadata => [...metadata, ...scaling])
  t.strictSame(seeing, plain)
  t.notOk(seeing.names.some(name => /^(v|mm)\./.test(name)))
})

t.test('what such files leave out, or call otherwise, is what all published ones have', async t => {
  const published = parseModelConfig({ ...gemma3, rope_scaling: { rope_type: 'linear', factor: 8 } })
  t.strictSame((await opened(t, GEMMA3, gemma3, images, asOllama())).parsed, published)
  const named = asOllama(['gemma3.rope.global.freq_base', f32(1_000_000)], ['gemma3.rope.local.freq_base', f32(10_000)])
  t.strictSame((await opened(t, GEMMA3, gemma3, images, named)).parsed, published)
  t.strictSame((await opened(t, GEMMA3, gemma3, [], named)).parsed, parseModelConfig(gemma3), 'a model that does not see is not scaled')
  const other = asOllama(['gemma3.rope.global.freq_base', f32(500_000)], ['gemma3.rope.local.freq_base', f32(20_000)])
  t.match((await opened(t, GEMMA3, gemma3, [], other)).config, { rope_theta: 500_000, rope_local_base_freq: 20_000 })
})

t.test('a file of another architecture that holds such tensors is refused', async t => {
  const llama = { architectures: ['LlamaForCausalLM'], ...TINY }
  for (const image of images) {
    await t.rejects(opened(t, { architecture: 'llama', permutes: true }, llama, [image]), { code: 'ENGINE_INVALID_CHECKPOINT', message: /is no part of the model/ }, image.name)
  }
  await t.rejects(opened(t, GEMMA3, gemma3, [tensor('vision.weight')]), { code: 'ENGINE_INVALID_CHECKPOINT' }, 'nor is what is only spelled alike left out')
})
