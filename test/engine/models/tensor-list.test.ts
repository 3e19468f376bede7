import t from 'tap'
import { countParameters, isRedundantLlamaTensor, listLlamaTensors, llamaTensors } from '../../../packages/engine/src/models/llama-tensors.ts'
import { MODEL_SHAPE_NAMES, namedShape } from '../../../packages/engine/src/models/named-shapes.ts'

t.test('a Llama is its embedding, nine tensors a layer, a norm and a head', async t => {
  const config = namedShape('tinyllama-1.1b')
  const tensors = new Map(listLlamaTensors(llamaTensors(config)).map(({ name, shape }) => [name, shape]))
  t.equal(tensors.size, 1 + 9 * 22 + 1 + 1)
  t.strictSame(tensors.get('model.embed_tokens.weight'), [32_000, 2048])
  t.strictSame(tensors.get('model.layers.21.self_attn.k_proj.weight'), [256, 2048])
  t.strictSame(tensors.get('model.layers.0.mlp.down_proj.weight'), [2048, 5632])
  t.strictSame(tensors.get('model.norm.weight'), [2048])
  t.strictSame(tensors.get('lm_head.weight'), [32_000, 2048])
})

t.test('a tied head is the embedding itself, listed once', async t => {
  const tensors = llamaTensors(namedShape('daybreak-mini'))
  t.equal(tensors.head, tensors.embedding)
  t.equal(listLlamaTensors(tensors).length, 1 + 9 * 8 + 1)
})

t.test('heads may be wider than the hidden size', async t => {
  const [layer] = llamaTensors({ ...namedShape('daybreak-mini'), headDim: 128 }).layers
  t.strictSame(layer?.queryProjection.shape, [768, 384])
  t.strictSame(layer?.outputProjection.shape, [384, 768])
})

t.test('the named shapes have the published numbers of parameters', async t => {
  const published: Record<string, number> = {
    'daybreak-mini': 13_375_872,
    'smollm2-135m': 134_515_008,
    'tinyllama-1.1b': 1_100_048_384,
    'llama-3.2-1b': 1_235_814_400,
    'llama-3.2-3b': 3_212_749_824,
    'llama-3.1-8b': 8_030_261_248
  }
  for (const name of MODEL_SHAPE_NAMES) t.equal(countParameters(namedShape(name)), published[name], name)
})

t.test('an unknown shape is answered with the known ones', async t => {
  t.throws(() => namedShape('gpt-5'), { code: 'ENGINE_UNKNOWN_MODEL_SHAPE', details: { shape: 'gpt-5', known: MODEL_SHAPE_NAMES } })
  t.throws(() => namedShape('toString'), { code: 'ENGINE_UNKNOWN_MODEL_SHAPE' })
})

t.test('only recomputed or tied tensors may lie in a checkpoint unused', async t => {
  const tied = namedShape('llama-3.2-1b')
  const untied = namedShape('llama-3.1-8b')
  t.ok(isRedundantLlamaTensor('model.layers.3.self_attn.rotary_emb.inv_freq', untied))
  t.ok(isRedundantLlamaTensor('lm_head.weight', tied))
  t.notOk(isRedundantLlamaTensor('lm_head.weight', untied))
  t.notOk(isRedundantLlamaTensor('model.layers.0.self_attn.q_proj.bias', tied))
})
