import t from 'tap'
import { InvalidModelConfigError, UnsupportedModelError } from '../../../packages/engine/src/errors.ts'
import { openModel } from '../../../packages/engine/src/models/open-model.ts'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'

const tiny = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 160,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 512,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  bos_token_id: 1,
  eos_token_id: 2,
  torch_dtype: 'bfloat16'
}

const llama3Rope = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 }

t.test('every number of a Hugging Face config is read, and the result is frozen', async t => {
  const config = parseModelConfig({ ...tiny, head_dim: 32, rope_theta: 500_000, tie_word_embeddings: true })
  t.strictSame(config, {
    architecture: 'LlamaForCausalLM',
    hiddenSize: 64,
    intermediateSize: 160,
    numHeads: 4,
    numKVHeads: 2,
    headDim: 32,
    vocabSize: 512,
    maxPositionEmbeddings: 256,
    layers: [{ window: undefined, rotary: 0, mlp: 'dense' }, { window: undefined, rotary: 0, mlp: 'dense' }],
    rotaries: [{ theta: 500_000, dim: 32, scaling: undefined }],
    attention: { scale: 32 ** -0.5, softcap: undefined, qkvBias: false, outputBias: false, qkNorm: undefined },
    norm: { eps: 1e-5, placement: 'before', addsOne: false },
    activation: 'silu',
    mlpBias: false,
    experts: undefined,
    embeddingScale: 1,
    residualScale: 1,
    logitScale: 1,
    logitSoftcap: undefined,
    tieWordEmbeddings: true,
    bosTokenIds: [1],
    eosTokenIds: [2],
    torchDtype: 'bfloat16'
  })
  t.ok(Object.isFrozen(config))
  t.ok(Object.isFrozen(config.eosTokenIds))
})

t.test('what a config leaves out or sets to null takes the defaults of transformers', async t => {
  const { num_key_value_heads: _, bos_token_id: _bos, ...rest } = tiny
  const config = parseModelConfig({ ...rest, head_dim: null, rope_scaling: null, eos_token_id: null, quantization_config: null })
  t.equal(config.numKVHeads, 4)
  t.equal(config.headDim, 16)
  t.equal(config.rotaries[0]?.theta, 10_000)
  t.equal(config.tieWordEmbeddings, false)
  t.strictSame(config.bosTokenIds, [])
  t.strictSame(config.eosTokenIds, [])
})

t.test('a field that is left out takes its family\'s default, where one that is null means none', async t => {
  const parse = (architecture: string, change: object): ReturnType<typeof parseModelConfig> => parseModelConfig({ ...tiny, head_dim: 16, architectures: [architecture], ...change })
  const gemma = parse('Gemma2ForCausalLM', {})
  t.match(gemma, { attention: { softcap: 50, scale: 1 / 16 }, logitSoftcap: 30, layers: [{ window: 4096 }, { window: undefined }] })
  t.match(parse('Gemma2ForCausalLM', { attn_logit_softcapping: null, final_logit_softcapping: null }), { attention: { softcap: undefined }, logitSoftcap: undefined })
  t.match(parse('MistralForCausalLM', {}).layers, [{ window: 4096 }, { window: 4096 }])
  t.match(parse('MistralForCausalLM', { sliding_window: null }).layers, [{ window: undefined }, { window: undefined }])
  t.match(parse('Qwen2ForCausalLM', { num_hidden_layers: 30, use_sliding_window: true }).layers.slice(27), [{ window: undefined }, { window: 4096 }, { window: 4096 }])
  t.equal(parse('SmolLM3ForCausalLM', {}).rotaries[0]?.theta, 2_000_000)
  t.equal(parse('SmolLM3ForCausalLM', { rope_parameters: { rope_type: 'default' } }).rotaries[0]?.theta, 2_000_000, 'in the newer spelling as well')
  t.equal(parse('MixtralForCausalLM', { num_local_experts: 4, num_experts_per_tok: 2 }).rotaries[0]?.theta, 1_000_000)
  const { rms_norm_eps: _, ...noEps } = tiny
  const eps = (architecture: string): number => parseModelConfig({ ...noEps, architectures: [architecture] }).norm.eps
  t.strictSame(['LlamaForCausalLM', 'Phi3ForCausalLM', 'Olmo2ForCausalLM'].map(eps), [1e-6, 1e-5, 1e-5])
})

t.test('several end tokens are kept', async t => {
  t.strictSame(parseModelConfig({ ...tiny, eos_token_id: [2, 7, 511] }).eosTokenIds, [2, 7, 511])
})

t.test('both spellings of rotary parameters say the same', async t => {
  const old = parseModelConfig({ ...tiny, rope_theta: 500_000, rope_scaling: llama3Rope })
  const older = parseModelConfig({ ...tiny, rope_theta: 500_000, rope_scaling: { ...llama3Rope, rope_type: undefined, type: 'llama3' } })
  const newer = parseModelConfig({ ...tiny, rope_parameters: { ...llama3Rope, rope_theta: 500_000 } })
  t.strictSame(newer, old)
  t.strictSame(older, old)
  t.strictSame(old.rotaries[0]?.scaling, { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 })
  t.equal(parseModelConfig({ ...tiny, rope_parameters: { rope_type: 'default', rope_theta: 20_000 } }).rotaries[0]?.theta, 20_000)
})

t.test('what would change the computation and is not implemented is refused by name', async t => {
  const unsupported: ReadonlyArray<readonly [string, object]> = [
    ['architectures', { architectures: ['GPT2LMHeadModel'] }],
    ['architectures', { architectures: ['LlamaForCausalLM', 'LlamaForSequenceClassification'] }],
    ['rope_scaling type', { rope_scaling: { type: 'mrope', factor: 2 } }],
    ['hidden_act', { hidden_act: 'gelu' }],
    ['hidden_activation', { hidden_activation: 'relu' }],
    ['sliding_window', { sliding_window: 4096 }],
    ['attention_bias', { architectures: ['Phi3ForCausalLM'], attention_bias: true }],
    ['clip_qkv', { architectures: ['Olmo2ForCausalLM'], clip_qkv: 8 }],
    ['layer_types', { architectures: ['Gemma2ForCausalLM'], layer_types: ['sliding_attention', 'linear_attention'] }],
    ['use_bidirectional_attention', { architectures: ['Gemma3ForCausalLM'], use_bidirectional_attention: true }],
    ['hidden_activation', { architectures: ['Gemma2ForCausalLM'], hidden_activation: 'gelu' }],
    ['hidden_activation', { architectures: ['Gemma3ForCausalLM'], hidden_activation: 'gelu' }],
    ['use_sliding_window', { architectures: ['Qwen3MoeForCausalLM'], use_sliding_window: true }]
  ]
  for (const [field, change] of unsupported) {
    t.throws(() => parseModelConfig({ ...tiny, ...change }), { code: 'ENGINE_UNSUPPORTED_MODEL', details: { field } }, JSON.stringify(change))
  }
  t.throws(() => parseModelConfig({ ...tiny, hidden_act: 'gelu' }), { message: 'this model needs hidden_act = "gelu", which is not supported; supported: silu and gelu_pytorch_tanh' })
})

t.test('numbers that no model could mean are refused, and their neighbours are not', async t => {
  const invalid: ReadonlyArray<readonly [string, readonly unknown[]]> = [
    ['hidden_size', [undefined, null, 0, -1, 1.5, NaN, Infinity, '64', 131_073, 2 ** 53, [64], true]],
    ['intermediate_size', [undefined, 0, 1_048_577]],
    ['num_hidden_layers', [undefined, 0, 1025]],
    ['num_attention_heads', [undefined, 0, 1025]],
    ['num_key_value_heads', [0, 3, 8]],
    ['head_dim', [0, 1, 3, 1026, -2]],
    ['vocab_size', [undefined, 0, 4_194_305]],
    ['max_position_embeddings', [0, -5, 16_777_217]],
    ['rms_norm_eps', [0, -1e-5, 0.2, NaN, '1e-5']],
    ['rope_theta', [0, -1, Infinity, 1e16]],
    ['tie_word_embeddings', [1, 'true']],
    ['eos_token_id', [512, -1, 1.5, [1, 512], 'eos', Array.from({ length: 65 }, () => 1)]]
  ]
  for (const [field, values] of invalid) {
    for (const value of values) {
      const error = t.throws(() => parseModelConfig({ ...tiny, [field]: value }), `${field} = ${String(value)}`)
      t.ok(error instanceof InvalidModelConfigError || error instanceof UnsupportedModelError, String(error))
      t.match(error, { details: { field } })
    }
  }
  t.equal(parseModelConfig({ ...tiny, hidden_size: 131_072, head_dim: 128 }).hiddenSize, 131_072)
  t.equal(parseModelConfig({ ...tiny, eos_token_id: 511 }).eosTokenIds[0], 511)
})

t.test('a hidden size that the heads do not divide needs a head_dim of its own', async t => {
  t.throws(() => parseModelConfig({ ...tiny, hidden_size: 66 }), { code: 'ENGINE_INVALID_MODEL_CONFIG', details: { field: 'head_dim', value: 16.5 } })
  t.equal(parseModelConfig({ ...tiny, hidden_size: 66, head_dim: 16 }).headDim, 16)
})

t.test('llama3 scaling needs all of its numbers, and room to interpolate', async t => {
  for (const [field, value] of [['factor', 0], ['low_freq_factor', undefined], ['high_freq_factor', 1], ['original_max_position_embeddings', 0.5]] as const) {
    t.throws(() => parseModelConfig({ ...tiny, rope_scaling: { ...llama3Rope, [field]: value } }), { code: 'ENGINE_INVALID_MODEL_CONFIG' }, field)
  }
})

t.test('YaRN and dynamic scaling carry the context as far as they stretch it, and no further than angles can be told apart', async t => {
  const context = (scaling: object): number => parseModelConfig({ ...tiny, rope_scaling: scaling }).maxPositionEmbeddings
  t.equal(context({ type: 'yarn', factor: 4, original_max_position_embeddings: 256 }), 1024)
  t.equal(context({ type: 'yarn', factor: 4, original_max_position_embeddings: 64 }), 256, 'the file names the longer one itself')
  t.equal(context({ type: 'yarn', factor: 4 }), 1024, 'without an original one the file names that')
  t.equal(context({ type: 'dynamic', factor: 2 }), 512)
  t.equal(context({ type: 'linear', factor: 4 }), 256)
  t.equal(context({ type: 'dynamic', factor: 1e6 }), 16_777_216)
})

t.test('both spellings in one file must mean the same', async t => {
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 }
  t.match(parseModelConfig({ ...tiny, rope_parameters: { ...yarn, rope_theta: 20_000 }, rope_scaling: yarn }).rotaries, [{ theta: 20_000, scaling: { type: 'yarn' } }])
  t.throws(() => parseModelConfig({ ...tiny, rope_parameters: { rope_type: 'default', rope_theta: 20_000 }, rope_scaling: yarn }), { code: 'ENGINE_INVALID_MODEL_CONFIG', details: { field: 'rope_scaling' } })
  t.match(parseModelConfig({ ...tiny, rope_parameters: { ...yarn, rope_theta: 20_000 }, rope_scaling: {} }).rotaries, [{ scaling: { type: 'yarn' } }])
})

t.test('a rotary part that turns no dimension, or half a pair, is refused', async t => {
  for (const factor of [0.05, 0.2]) {
    t.throws(() => parseModelConfig({ ...tiny, partial_rotary_factor: factor }), { code: 'ENGINE_INVALID_MODEL_CONFIG', details: { field: 'partial_rotary_factor' } }, String(factor))
  }
  t.equal(parseModelConfig({ ...tiny, partial_rotary_factor: 0.25 }).rotaries[0]?.dim, 4)
})

t.test('anything but an object is refused', async t => {
  for (const json of [undefined, null, 7, 'text', [], [tiny]]) {
    t.throws(() => parseModelConfig(json), { code: 'ENGINE_INVALID_MODEL_CONFIG' })
  }
  t.throws(() => parseModelConfig({ ...tiny, rope_scaling: 'llama3' }), { code: 'ENGINE_INVALID_MODEL_CONFIG', details: { field: 'rope_scaling' } })
})

t.test('weights quantised by a method that is not read are refused by its name, whatever their files hold', async t => {
  const methods: ReadonlyArray<readonly [unknown, object]> = [
    ['fp8', { quantization_config: { quant_method: 'fp8', activation_scheme: 'dynamic', weight_block_size: [128, 128] } }],
    ['bitsandbytes', { quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true, bnb_4bit_quant_type: 'nf4' } }],
    [undefined, { quantization: { group_size: 64, bits: 4 } }]
  ]
  for (const [method, quantization] of methods) {
    const directory = t.testdir({ 'config.json': JSON.stringify({ ...tiny, ...quantization }), 'model.safetensors': 'not one' })
    await t.rejects(openModel({ type: 'directory', path: directory }), { code: 'ENGINE_UNSUPPORTED_MODEL', details: { field: 'quantization_config.quant_method', value: method } }, String(method))
  }
})

t.test('a model directory is read through its config.json', async t => {
  const directory = t.testdir({
    good: { 'config.json': JSON.stringify(tiny) },
    damaged: { 'config.json': '{"hidden_size": 64' },
    huge: { 'config.json': ' '.repeat((1 << 20) + 1) },
    empty: {}
  })
  // Its configuration is read before its weights are looked for.
  await t.rejects(openModel({ type: 'directory', path: `${directory}/good` }), { code: 'ENGINE_INVALID_CHECKPOINT', message: /neither model.safetensors nor/ })
  for (const name of ['damaged', 'huge', 'empty']) {
    await t.rejects(openModel({ type: 'directory', path: `${directory}/${name}` }), { code: 'ENGINE_INVALID_CHECKPOINT', message: /config.json/ }, name)
  }
})
