import t from 'tap'
import { decoderTensors } from '../../../packages/engine/src/models/decoder-tensors.ts'
import { MODEL_SHAPE_NAMES, namedShape } from '../../../packages/engine/src/models/named-shapes.ts'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { countParameters, isRedundantTensor, listTensors } from '../../../packages/engine/src/models/tensor-list.ts'
import { aConfig } from './a-config.ts'

t.test('a Llama is its embedding, nine tensors a layer, a norm and a head', async t => {
  const config = namedShape('tinyllama-1.1b')
  const tensors = new Map(listTensors(decoderTensors(config)).map(({ name, shape }) => [name, shape]))
  t.equal(tensors.size, 1 + 9 * 22 + 1 + 1)
  t.strictSame(tensors.get('model.embed_tokens.weight'), [32_000, 2048])
  t.strictSame(tensors.get('model.layers.21.self_attn.k_proj.weight'), [256, 2048])
  t.strictSame(tensors.get('model.layers.0.mlp.down_proj.weight'), [2048, 5632])
  t.strictSame(tensors.get('model.norm.weight'), [2048])
  t.strictSame(tensors.get('lm_head.weight'), [32_000, 2048])
})

t.test('a tied head is the embedding itself, listed once', async t => {
  const tensors = decoderTensors(namedShape('daybreak-mini'))
  t.equal(tensors.head, tensors.embedding)
  t.equal(listTensors(tensors).length, 1 + 9 * 8 + 1)
})

t.test('heads may be wider than the hidden size', async t => {
  const [layer] = decoderTensors({ ...namedShape('daybreak-mini'), headDim: 128 }).layers
  t.strictSame(layer?.query.weight.shape, [768, 384])
  t.strictSame(layer?.output.weight.shape, [384, 768])
})

t.test('fused projections are rows of one stored tensor', async t => {
  const tensors = decoderTensors(parseModelConfig(aConfig('Phi3ForCausalLM')))
  const [layer] = tensors.layers
  t.strictSame(layer?.key.weight, { name: 'model.layers.0.self_attn.qkv_proj.weight', shape: [128, 64], rows: { first: 64, count: 32 } })
  t.strictSame(layer?.mlp.type === 'dense' && layer.mlp.up.weight, { name: 'model.layers.0.mlp.gate_up_proj.weight', shape: [320, 64], rows: { first: 160, count: 160 } })
  t.strictSame(listTensors(tensors).filter(({ name }) => name.includes('qkv')), [
    { name: 'model.layers.0.self_attn.qkv_proj.weight', shape: [128, 64] },
    { name: 'model.layers.1.self_attn.qkv_proj.weight', shape: [128, 64] }
  ], 'each listed once')
})

t.test('biases and the norms of queries and keys are tensors of the families that have them', async t => {
  const names = (architecture: string, change = {}): string[] => listTensors(decoderTensors(parseModelConfig(aConfig(architecture, change)))).map(({ name }) => name).filter(name => name.includes('layers.0.'))
  t.ok(names('Qwen2ForCausalLM').includes('model.layers.0.self_attn.v_proj.bias'))
  t.notOk(names('Qwen2ForCausalLM').includes('model.layers.0.self_attn.o_proj.bias'))
  t.ok(names('LlamaForCausalLM', { attention_bias: true }).includes('model.layers.0.self_attn.o_proj.bias'))
  t.strictSame(decoderTensors(parseModelConfig(aConfig('Qwen3ForCausalLM'))).layers[0]?.keyNorm?.shape, [16], 'a head')
  t.strictSame(decoderTensors(parseModelConfig(aConfig('Olmo2ForCausalLM'))).layers[0]?.keyNorm?.shape, [32], 'the projection')
})

t.test('the named shapes have the published numbers of parameters', async t => {
  const published: Record<string, number> = {
    'daybreak-mini': 13_375_872,
    'smollm2-135m': 134_515_008,
    'tinyllama-1.1b': 1_100_048_384,
    'llama-3.2-1b': 1_235_814_400,
    'llama-3.2-3b': 3_212_749_824,
    'llama-3.1-8b': 8_030_261_248,
    'qwen3-0.6b': 596_049_920,
    'gemma-3-1b': 999_885_952,
    'qwen3-30b-a3b': 30_532_122_624
  }
  for (const name of MODEL_SHAPE_NAMES) t.equal(countParameters(namedShape(name)), published[name], name)
})

t.test('an unknown shape is answered with the known ones', async t => {
  t.throws(() => namedShape('gpt-5'), { code: 'ENGINE_UNKNOWN_MODEL_SHAPE', details: { shape: 'gpt-5', known: MODEL_SHAPE_NAMES } })
  t.throws(() => namedShape('toString'), { code: 'ENGINE_UNKNOWN_MODEL_SHAPE' })
})

t.test('only recomputed or tied tensors, and those of another modality, may lie in a checkpoint unused', async t => {
  const tied = namedShape('llama-3.2-1b')
  const untied = namedShape('llama-3.1-8b')
  t.ok(isRedundantTensor('model.layers.3.self_attn.rotary_emb.inv_freq', untied))
  t.ok(isRedundantTensor('lm_head.weight', tied))
  t.notOk(isRedundantTensor('lm_head.weight', untied))
  t.notOk(isRedundantTensor('model.layers.0.self_attn.q_proj.bias', tied))
  const vision = parseModelConfig({ architectures: ['Gemma3ForConditionalGeneration'], text_config: { ...aConfig('Gemma3ForCausalLM'), architectures: undefined } })
  t.ok(isRedundantTensor('vision_tower.vision_model.embeddings.patch_embedding.weight', vision))
  t.notOk(isRedundantTensor('vision_tower.vision_model.embeddings.patch_embedding.weight', tied))
})
