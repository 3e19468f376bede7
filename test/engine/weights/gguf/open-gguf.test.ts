import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parseModelConfig } from '../../../../packages/engine/src/models/parse-model-config.ts'
import { openGguf } from '../../../../packages/engine/src/weights/gguf/index.ts'
import { rowsOf } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { halfValue } from '../half-reference.ts'
import { convertedTensors, huggingFaceModel, metadataOf, TINY } from './converted-model.ts'
import type { Conversion } from './converted-model.ts'
import { bool, f32, numbers, text, texts, u32, writeGguf } from './write-gguf.ts'
import type { WrittenGguf, WrittenTensor, WrittenValue } from './write-gguf.ts'

type Config = Readonly<Record<string, unknown>>
type Metadata = ReadonlyArray<readonly [string, WrittenValue]>

function written (t: Test, file: WrittenGguf, name = 'model.gguf'): string {
  const path = join(t.testdir(), name)
  writeFileSync(path, writeGguf(file))
  return path
}

/** The GGUF file of a model, with more metadata and tensors than the converter's common ones. */
function gguf (conversion: Conversion, config: Config, metadata: Metadata = [], tensors: readonly WrittenTensor[] = []): WrittenGguf {
  const overridden = new Set(metadata.map(([key]) => key))
  return {
    metadata: [...metadataOf(conversion.architecture, config).filter(([key]) => !overridden.has(key)), ...metadata],
    tensors: [...tensors, ...convertedTensors(huggingFaceModel(config), conversion)]
  }
}

const FAMILIES: ReadonlyArray<readonly [string, Conversion, Config, Metadata]> = [
  ['Llama', { architecture: 'llama', permutes: true }, { architectures: ['LlamaForCausalLM'], ...TINY }, [['llama.rope.dimension_count', u32(4)]]],
  ['a tied Llama with biases', { architecture: 'llama', permutes: true }, { architectures: ['LlamaForCausalLM'], ...TINY, attention_bias: true, mlp_bias: true, tie_word_embeddings: true }, []],
  ['Mistral with a window', { architecture: 'llama', permutes: true }, { architectures: ['MistralForCausalLM'], ...TINY, head_dim: 8, sliding_window: 16 }, []],
  ['Mistral under its name', { architecture: 'mistral', permutes: true }, { architectures: ['MistralForCausalLM'], ...TINY, sliding_window: null }, []],
  ['Mixtral', { architecture: 'llama', permutes: true }, { architectures: ['MixtralForCausalLM'], ...TINY, num_local_experts: 3, num_experts_per_tok: 2 }, []],
  ['Mixtral, experts apart', { architecture: 'llama', permutes: true, experts: 'apart' }, { architectures: ['MixtralForCausalLM'], ...TINY, num_local_experts: 3, num_experts_per_tok: 2 }, []],
  ['Qwen 2', { architecture: 'qwen2' }, { architectures: ['Qwen2ForCausalLM'], ...TINY }, []],
  ['Qwen 3', { architecture: 'qwen3' }, { architectures: ['Qwen3ForCausalLM'], ...TINY, head_dim: 8 }, []],
  ['Qwen 3 with experts', { architecture: 'qwen3moe' }, {
    architectures: ['Qwen3MoeForCausalLM'], ...TINY, head_dim: 8, num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12, norm_topk_prob: true
  }, []],
  ['Gemma 2', { architecture: 'gemma2', addsOne: true }, {
    architectures: ['Gemma2ForCausalLM'],
    ...TINY,
    head_dim: 8,
    hidden_activation: 'gelu_pytorch_tanh',
    tie_word_embeddings: true,
    query_pre_attn_scalar: 8,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
    sliding_window: 16
  }, [['gemma2.attn_logit_softcapping', f32(50)], ['gemma2.final_logit_softcapping', f32(30)]]],
  ['Gemma 3', { architecture: 'gemma3', addsOne: true }, {
    architectures: ['Gemma3ForCausalLM'],
    ...TINY,
    num_hidden_layers: 7,
    head_dim: 8,
    hidden_activation: 'gelu_pytorch_tanh',
    tie_word_embeddings: true,
    query_pre_attn_scalar: 8,
    sliding_window: 16,
    rope_local_base_freq: 10_000,
    rope_scaling: { rope_type: 'linear', factor: 8 }
  }, [['gemma3.rope.scaling.type', text('linear')], ['gemma3.rope.scaling.factor', f32(8)]]],
  ['Phi 3', { architecture: 'phi3' }, { architectures: ['Phi3ForCausalLM'], ...TINY, sliding_window: 15 }, [['phi3.rope.dimension_count', u32(4)]]],
  ['Phi 4 mini', { architecture: 'phi3' }, { architectures: ['Phi3ForCausalLM'], ...TINY, head_dim: 8, partial_rotary_factor: 0.75, sliding_window: null }, [
    ['phi3.rope.dimension_count', u32(6)], ['phi3.attention.sliding_window', u32(0)]
  ]],
  ['SmolLM3', { architecture: 'smollm3', permutes: true }, { architectures: ['SmolLM3ForCausalLM'], ...TINY, num_hidden_layers: 5, no_rope_layers: [1, 1, 1, 0, 1], tie_word_embeddings: true }, []],
  ['OLMo 2', { architecture: 'olmo2' }, { architectures: ['Olmo2ForCausalLM'], ...TINY }, []],
  ['Granite', { architecture: 'granite', permutes: true }, {
    architectures: ['GraniteForCausalLM'], ...TINY, embedding_multiplier: 12, attention_multiplier: 0.0625, residual_multiplier: 0.25, logits_scaling: 8
  }, [['granite.embedding_scale', f32(12)], ['granite.attention.scale', f32(0.0625)], ['granite.residual_scale', f32(0.25)], ['granite.logit_scale', f32(8)]]]
]

for (const [family, conversion, config, metadata] of FAMILIES) {
  t.test(`${family} is the Hugging Face model it was converted from`, async t => {
    const model = await openGguf(written(t, gguf(conversion, config, metadata)))
    t.teardown(() => model[Symbol.asyncDispose]())
    t.strictSame(parseModelConfig(model.config), parseModelConfig(config))
    const original = huggingFaceModel(config).tensors
    t.strictSame([...model.tensors.keys()].sort(), [...original.keys()].sort())
    for (const [name, { shape, values }] of original) {
      const tensor = model.tensors.get(name)
      if (tensor === undefined) continue
      t.equal(tensor.name, name)
      t.strictSame(tensor.shape, shape)
      const { numRows, rowLength } = rowsOf(tensor)
      // All rows, and some that begin and end within a head or an expert.
      for (const [first, count] of [[0, numRows], [1, numRows - 2], [Math.floor(numRows / 3), 1]] as const) {
        const expected = [...values.subarray(first * rowLength, (first + count) * rowLength)]
        const f32 = new Float32Array(expected.length)
        await tensor.readRowsInto(first, count, f32)
        t.strictSame([...f32], expected, `${name}: rows ${first} + ${count}`)
        const f16 = new Uint16Array(expected.length)
        await tensor.readRowsInto(first, count, f16)
        t.strictSame([...f16].map(halfValue), expected, `${name}: rows ${first} + ${count} as halves`)
      }
    }
  })
}

const LLAMA: Config = { architectures: ['LlamaForCausalLM'], ...TINY, head_dim: 8 }
const llama = (metadata: Metadata = [], tensors: readonly WrittenTensor[] = []): WrittenGguf =>
  gguf({ architecture: 'llama', permutes: true }, LLAMA, metadata, tensors)
const floats = (name: string, values: readonly number[]): WrittenTensor =>
  ({ name, type: 0, dimensions: [values.length], bytes: new Uint8Array(Float32Array.from(values).buffer) })

async function configOf (t: Test, file: WrittenGguf): Promise<Config> {
  const model = await openGguf(written(t, file))
  await model[Symbol.asyncDispose]()
  t.notOk([...model.tensors.keys()].some(name => name.startsWith('rope')), 'rotary factors are no weights')
  return model.config
}

t.test('rotary scalings are spelled as config.json spells them', async t => {
  const scaling = async (metadata: Metadata, tensors: readonly WrittenTensor[] = []): Promise<unknown> => (await configOf(t, llama(metadata, tensors)))['rope_scaling']
  t.equal(await scaling([]), null)
  t.equal(await scaling([['llama.rope.scaling.type', text('none')]]), null)
  t.strictSame(await scaling([['llama.rope.scaling.type', text('linear')], ['llama.rope.scaling.factor', f32(4)]]), { rope_type: 'linear', factor: 4 })
  t.strictSame(await scaling([['llama.rope.scale_linear', f32(2)]]), { rope_type: 'linear', factor: 2 })
  t.equal(await scaling([['llama.rope.scaling.type', text('linear')], ['llama.rope.scaling.factor', f32(1)]]), null)
  t.strictSame(await scaling([['llama.rope.scaling.type', text('yarn')], ['llama.rope.scaling.factor', f32(4)], ['llama.rope.scaling.original_context_length', u32(32)]]),
    { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 })
  t.strictSame(await scaling([
    ['llama.rope.scaling.type', text('yarn')], ['llama.rope.scaling.factor', f32(4)], ['llama.rope.scaling.yarn_attn_factor', f32(1.25)],
    ['llama.rope.scaling.yarn_beta_fast', f32(16)], ['llama.rope.scaling.yarn_beta_slow', f32(2)]
  ]), { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64, attention_factor: 1.25, beta_fast: 16, beta_slow: 2 })
  t.strictSame(await scaling([], [floats('rope_freqs.weight', [1, 1, 3.5, 8])]), { rope_type: 'frequency_factors', factors: [1, 1, 3.5, 8] })
  t.equal(await scaling([], [floats('rope_freqs.weight', [1, 1, 1, 1])]), null)
  t.strictSame(await scaling([['llama.rope.scaling.attn_factor', f32(1.5)], ['llama.rope.scaling.original_context_length', u32(32)]],
    [floats('rope_factors_long.weight', [1, 2, 3, 4]), floats('rope_factors_short.weight', [1, 1, 1, 2])]),
  { rope_type: 'longrope', long_factor: [1, 2, 3, 4], short_factor: [1, 1, 1, 2], original_max_position_embeddings: 32, attention_factor: 1.5 })
})

t.test('rotary scalings that cannot be spelled, or are damaged, are refused', async t => {
  const cases: ReadonlyArray<readonly [Metadata, readonly WrittenTensor[], { readonly code: string, readonly message?: RegExp }]> = [
    [[['llama.rope.scaling.type', text('spiral')]], [], { code: 'ENGINE_UNSUPPORTED_MODEL', message: /llama.rope.scaling.type = "spiral"/ }],
    [[['llama.rope.scaling.type', text('linear')]], [floats('rope_freqs.weight', [1, 1, 1, 2])], { code: 'ENGINE_UNSUPPORTED_MODEL' }],
    [[['llama.rope.scaling.type', text('yarn')], ['llama.rope.scaling.factor', f32(4)], ['llama.rope.scaling.attn_factor', f32(2)]], [], { code: 'ENGINE_UNSUPPORTED_MODEL' }],
    [[['llama.rope.scaling.type', text('yarn')]], [], { code: 'ENGINE_INVALID_CHECKPOINT', message: /scaling.factor" is missing/ }],
    [[['llama.rope.scaling.type', text('linear')]], [], { code: 'ENGINE_INVALID_CHECKPOINT' }],
    [[['llama.rope.scaling.type', text('longrope')]], [], { code: 'ENGINE_INVALID_CHECKPOINT', message: /is missing/ }],
    [[], [floats('rope_factors_long.weight', [1, 2, 3, 4])], { code: 'ENGINE_INVALID_CHECKPOINT', message: /rope_factors_short.weight is missing/ }],
    [[], [floats('rope_freqs.weight', [1, 1, 1])], { code: 'ENGINE_INVALID_CHECKPOINT', message: /8 rotated dimensions have 4 pairs/ }],
    [[], [floats('rope_freqs.weight', [1, 1, 0, 1])], { code: 'ENGINE_INVALID_CHECKPOINT', message: /divides nothing/ }],
    [[], [floats('rope_freqs.weight', [1, 1, NaN, 1])], { code: 'ENGINE_INVALID_CHECKPOINT', message: /divides nothing/ }],
    [[['llama.rope.dimension_count', u32(6)]], [], { code: 'ENGINE_UNSUPPORTED_MODEL', message: /dimension_count = 6/ }],
    [[['llama.rope.dimension_count', u32(10)]], [], { code: 'ENGINE_INVALID_CHECKPOINT' }]
  ]
  for (const [metadata, tensors, error] of cases) await t.rejects(openGguf(written(t, llama(metadata, tensors))), error, String(error.message ?? error.code))
})

t.test('ends of turns and messages end generation too', async t => {
  const ends = async (metadata: Metadata): Promise<unknown> => (await configOf(t, llama(metadata)))['eos_token_id']
  t.equal(await ends([]), 2)
  t.equal(await ends([['tokenizer.ggml.eot_token_id', u32(2)]]), 2)
  t.strictSame(await ends([['tokenizer.ggml.eot_token_id', u32(5)], ['tokenizer.ggml.eom_token_id', u32(7)]]), [2, 5, 7])
})

t.test('what llama.cpp derives from the number of layers is derived here', async t => {
  const large = { ...TINY, tie_word_embeddings: true, hidden_size: 24, head_dim: 8, sliding_window: 16 }
  const gemma2 = await configOf(t, gguf({ architecture: 'gemma2', addsOne: true }, { architectures: ['Gemma2ForCausalLM'], ...large, num_hidden_layers: 46 }))
  t.match(gemma2, { query_pre_attn_scalar: 6, attn_logit_softcapping: 50, final_logit_softcapping: 30 })
  const gemma3 = await configOf(t, gguf({ architecture: 'gemma3', addsOne: true }, { architectures: ['Gemma3ForCausalLM'], ...large, num_hidden_layers: 62 }))
  t.match(gemma3, { query_pre_attn_scalar: 6, final_logit_softcapping: null })
})

t.test('values per layer are taken where all layers agree', async t => {
  const heads = (values: readonly number[]): Metadata => [['llama.attention.head_count_kv', numbers('u32', values)]]
  t.equal((await configOf(t, llama(heads([2, 2]))))['num_key_value_heads'], 2)
  await t.rejects(openGguf(written(t, llama(heads([2, 4])))), { code: 'ENGINE_INVALID_CHECKPOINT', message: /differs between layers/ })
})

t.test('models that are not implemented are refused by name', async t => {
  const cases: ReadonlyArray<readonly [WrittenGguf, Readonly<Record<string, unknown>>]> = [
    [llama([['general.architecture', text('rwkv7')]]), { field: 'general.architecture', value: 'rwkv7', supported: 'llama, mistral, qwen2, qwen3, qwen3moe, gemma2, gemma3, phi3, smollm3, olmo2, granite' }],
    [llama([['llama.attention.causal', bool(false)]]), { field: 'llama.attention.causal' }],
    [llama([['llama.attention.clamp_kqv', f32(8)]]), { field: 'llama.attention.clamp_kqv' }],
    [llama([['llama.attention.value_length', u32(4)]]), { field: 'llama.attention.value_length' }],
    [gguf({ architecture: 'granite', permutes: true }, { ...LLAMA, architectures: ['GraniteForCausalLM'] }, [['granite.rope.scaling.finetuned', bool(false)]]), { field: 'granite.rope.scaling.finetuned' }]
  ]
  for (const [file, details] of cases) await t.rejects(openGguf(written(t, file)), { code: 'ENGINE_UNSUPPORTED_MODEL', details }, String(details['field']))
  const olmo3 = await configOf(t, gguf({ architecture: 'olmo2' }, { architectures: ['Olmo2ForCausalLM'], ...TINY }, [['olmo2.attention.sliding_window', u32(16)]]))
  t.throws(() => parseModelConfig(olmo3), { code: 'ENGINE_UNSUPPORTED_MODEL', message: /Olmo3ForCausalLM/ })
})

t.test('metadata and tensors that contradict each other are refused', async t => {
  const without = (...names: string[]): WrittenGguf => ({ ...llama(), tensors: (llama().tensors ?? []).filter(({ name }) => !names.includes(name)) })
  const missing = (key: string): WrittenGguf => ({ ...llama(), metadata: (llama().metadata ?? []).filter(([name]) => name !== key) })
  const mixtral = gguf({ architecture: 'llama', permutes: true }, { architectures: ['MixtralForCausalLM'], ...TINY, num_local_experts: 3, num_experts_per_tok: 2 })
  const cases: ReadonlyArray<readonly [WrittenGguf, RegExp]> = [
    [missing('general.architecture'), /"general.architecture" is missing/],
    [missing('llama.block_count'), /"llama.block_count" is missing/],
    [missing('llama.attention.layer_norm_rms_epsilon'), /layer_norm_rms_epsilon" is missing/],
    [without('token_embd.weight'), /"token_embd.weight": is missing/],
    [llama([['general.architecture', u32(1)]]), /is not text/],
    [llama([['llama.block_count', u32(0)]]), /block_count" is 0/],
    [llama([['llama.block_count', u32(1_000_000)]]), /is 1000000 in a file of \d+ tensors/],
    [llama([['llama.block_count', text('2')]]), /is not a number/],
    [llama([['llama.embedding_length', f32(16.5)]]), /is 16.5; expected an integer/],
    [llama([['llama.attention.head_count', u32(3)]]), /tensor "blk.0.attn_q.weight": has 32 rows; 3 heads of 8 have 24/],
    [llama([['llama.attention.head_count_kv', u32(4)]]), /attn_k.weight": has 16 rows/],
    [llama([['llama.attention.layer_norm_rms_epsilon', f32(NaN)]]), /is NaN/],
    [llama([['llama.expert_count', u32(100_000)]]), /at most 1024/],
    [{ ...mixtral, metadata: (mixtral.metadata ?? []).map(([key, value]) => [key, key === 'llama.expert_count' ? u32(4) : value]) }, /expected 4 experts/],
    [llama([], [floats('lm_head.weight', [1])]), /is lm_head.weight, as another tensor is/]
  ]
  for (const [file, message] of cases) await t.rejects(openGguf(written(t, file)), { code: 'ENGINE_INVALID_CHECKPOINT', message }, String(message))
})

t.test('a tensor without a name here keeps its own, and formats are counted', async t => {
  const q8 = { name: 'blk.0.adapter.weight', type: 8, dimensions: [32, 2], bytes: new Uint8Array(68) }
  const model = await openGguf(written(t, llama([['tokenizer.ggml.tokens', texts(['a', 'b'])]], [q8, floats('constructor.weight', [1])])))
  t.teardown(() => model[Symbol.asyncDispose]())
  t.strictSame(model.tensors.get('blk.0.adapter.weight')?.shape, [2, 32])
  t.ok(model.tensors.has('constructor.weight'))
  t.strictSame(model.formats.get('Q8_0'), { tensors: 1, bytes: 68 })
  t.equal(model.formats.get('F32')?.tensors, model.tensors.size - 1)
  t.strictSame(model.header.metadata.get('tokenizer.ggml.tokens'), ['a', 'b'])
  t.equal(model.name.endsWith('model.gguf'), true)
})
