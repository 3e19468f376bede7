import t from 'tap'
import type { ModelConfig } from '../../../packages/engine/src/models/model-config.ts'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { aConfig } from './a-config.ts'

const parse = (architecture: string, change: Readonly<Record<string, unknown>> = {}): ModelConfig => parseModelConfig(aConfig(architecture, change))
const windows = ({ layers }: ModelConfig): Array<number | undefined> => layers.map(({ window }) => window)
const rotaries = ({ layers }: ModelConfig): Array<number | undefined> => layers.map(({ rotary }) => rotary)

t.test('Mistral slides where its file says how far', async t => {
  t.strictSame(windows(parse('MistralForCausalLM', { sliding_window: 4096 })), [4096, 4096])
  t.strictSame(windows(parse('MistralForCausalLM', { sliding_window: null })), [undefined, undefined])
})

t.test('Qwen 2 has biases on queries, keys and values, and a window only where it is switched on', async t => {
  const config = parse('Qwen2ForCausalLM', { sliding_window: 32, use_sliding_window: false, max_window_layers: 1 })
  t.match(config.attention, { qkvBias: true, outputBias: false })
  t.strictSame(windows(config), [undefined, undefined])
  t.strictSame(windows(parse('Qwen2ForCausalLM', { sliding_window: 32, use_sliding_window: true, max_window_layers: 1 })), [undefined, 32])
})

t.test('Qwen 3 normalises each head; its mixtures have experts in the layers that are not named dense', async t => {
  t.equal(parse('Qwen3ForCausalLM').attention.qkNorm, 'head')
  const config = parse('Qwen3MoeForCausalLM', { num_hidden_layers: 4, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 32, norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [2] })
  t.strictSame(config.layers.map(({ mlp }) => mlp), ['experts', 'experts', 'dense', 'experts'])
  t.strictSame(config.experts, { count: 8, perToken: 2, intermediateSize: 32, normalizeTopK: true })
  t.strictSame(parse('Qwen3MoeForCausalLM', { num_hidden_layers: 4, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 32, decoder_sparse_step: 2 }).layers.map(({ mlp }) => mlp), ['dense', 'experts', 'dense', 'experts'])
})

t.test('Gemma 2 soft-caps, norms around, scales its embeddings and slides in every other layer', async t => {
  const config = parse('Gemma2ForCausalLM', { num_hidden_layers: 4, sliding_window: 24, query_pre_attn_scalar: 64, attn_logit_softcapping: 50, final_logit_softcapping: 30, hidden_activation: 'gelu_pytorch_tanh' })
  t.strictSame(config.attention, { scale: 0.125, softcap: 50, qkvBias: false, outputBias: false, qkNorm: undefined })
  t.match(config.norm, { placement: 'around', addsOne: true })
  t.match(config, { activation: 'gelu-tanh', embeddingScale: 8, logitSoftcap: 30, tieWordEmbeddings: true })
  t.strictSame(windows(config), [24, undefined, 24, undefined])
  t.strictSame(windows(parse('Gemma2ForCausalLM', { sliding_window: 24, layer_types: ['full_attention', 'sliding_attention'] })), [undefined, 24], 'the file\'s own list decides')
})

t.test('Gemma 3 turns local layers by another base than global ones, in both spellings', async t => {
  const old = parse('Gemma3ForCausalLM', { num_hidden_layers: 7, sliding_window: 24, rope_theta: 1e6, rope_local_base_freq: 1e4, rope_scaling: { rope_type: 'linear', factor: 8 }, query_pre_attn_scalar: 16 })
  const newer = parse('Gemma3ForCausalLM', {
    num_hidden_layers: 7,
    sliding_window: 24,
    layer_types: Array.from({ length: 7 }, (_, i) => i === 5 ? 'full_attention' : 'sliding_attention'),
    rope_parameters: { full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1e6 }, sliding_attention: { rope_type: 'default', rope_theta: 1e4 } },
    query_pre_attn_scalar: 16
  })
  t.strictSame(newer, old)
  t.strictSame(windows(old), [24, 24, 24, 24, 24, undefined, 24])
  t.strictSame(rotaries(old), [1, 1, 1, 1, 1, 0, 1])
  t.strictSame(old.rotaries, [{ theta: 1e6, dim: 16, scaling: { type: 'linear', factor: 8 } }, { theta: 1e4, dim: 16, scaling: undefined }])
  t.match(old.attention, { qkNorm: 'head', scale: 0.25 })
})

t.test('Gemma 3\'s two rotary bases keep their defaults where a set of parameters names none', async t => {
  const rotaries = (change: object): ModelConfig['rotaries'] => parse('Gemma3ForCausalLM', { sliding_window: 24, ...change }).rotaries
  const both = [{ theta: 1e6, dim: 16, scaling: { type: 'linear', factor: 8 } }, { theta: 1e4, dim: 16, scaling: undefined }]
  t.strictSame(rotaries({ rope_parameters: { full_attention: { rope_type: 'linear', factor: 8 }, sliding_attention: { rope_type: 'default' } } }), both)
  t.strictSame(rotaries({ rope_parameters: { full_attention: { rope_type: 'linear', factor: 8 }, sliding_attention: null } }), both)
  t.strictSame(rotaries({ rope_scaling: { rope_type: 'linear', factor: 8 } }), both)
  t.equal(rotaries({ rope_local_base_freq: 2e4, rope_parameters: { full_attention: { rope_type: 'default' } } })[1]?.theta, 2e4)
})

t.test('of a Gemma 3 that also sees, the text model is taken, with the sizes its file leaves out', async t => {
  const config = parseModelConfig({ architectures: ['Gemma3ForConditionalGeneration'], eos_token_id: [1, 106], text_config: { hidden_size: 2560, intermediate_size: 10_240, num_hidden_layers: 34, sliding_window: 1024, rope_scaling: { factor: 8, rope_type: 'linear' } }, vision_config: {} })
  t.match(config, { numHeads: 8, numKVHeads: 4, headDim: 256, vocabSize: 262_208, eosTokenIds: [1, 106] })
  t.throws(() => parseModelConfig({ architectures: ['Gemma3ForConditionalGeneration'] }), { code: 'ENGINE_UNSUPPORTED_MODEL', details: { field: 'text_config' } })
})

t.test('Phi-3 turns a part of each head and chooses between two lists of divisors', async t => {
  const longrope = { type: 'longrope', short_factor: Array(6).fill(1), long_factor: Array(6).fill(4) }
  const config = parse('Phi3ForCausalLM', { partial_rotary_factor: 0.75, rope_scaling: longrope, original_max_position_embeddings: 64 })
  t.equal(config.rotaries[0]?.dim, 12)
  t.match(config.rotaries[0]?.scaling, { type: 'longrope', originalMaxPositionEmbeddings: 64, attentionFactor: Math.sqrt(1 + Math.log(4) / Math.log(64)) })
  t.throws(() => parse('Phi3ForCausalLM', { rope_scaling: longrope, original_max_position_embeddings: 64 }), { code: 'ENGINE_INVALID_MODEL_CONFIG' }, 'a divisor for each pair')
  for (const type of ['su', 'yarn']) {
    t.strictSame(parse('Phi3ForCausalLM', { partial_rotary_factor: 0.75, rope_scaling: { ...longrope, type }, original_max_position_embeddings: 64 }).rotaries, config.rotaries, `the first files called it ${type}`)
  }
  const factor2 = parse('Phi3ForCausalLM', { partial_rotary_factor: 0.75, rope_scaling: { ...longrope, factor: 2 }, original_max_position_embeddings: 64 })
  t.match(factor2.rotaries[0]?.scaling, { attentionFactor: Math.sqrt(1 + Math.log(2) / Math.log(64)) }, 'a factor of its own decides the temperature')
})

t.test('SmolLM3 leaves every fourth layer without positions, or those its file lists', async t => {
  t.strictSame(rotaries(parse('SmolLM3ForCausalLM', { num_hidden_layers: 5 })), [0, 0, 0, undefined, 0])
  t.strictSame(rotaries(parse('SmolLM3ForCausalLM', { no_rope_layers: [0, 1] })), [undefined, 0])
  t.throws(() => parse('SmolLM3ForCausalLM', { no_rope_layers: [0] }), { code: 'ENGINE_INVALID_MODEL_CONFIG' })
  const windowed = { use_sliding_window: true, sliding_window: 32, no_rope_layers: [0, 1] }
  t.strictSame(windows(parse('SmolLM3ForCausalLM', windowed)), [32, undefined], 'and slides those, where it slides and lists no layers')
  t.strictSame(windows(parse('SmolLM3ForCausalLM', { ...windowed, layer_types: ['full_attention', 'sliding_attention'] })), [undefined, 32])
})

t.test('OLMo 2 norms behind its branches and whole projections; Granite multiplies', async t => {
  const olmo = parse('Olmo2ForCausalLM')
  t.strictSame([olmo.norm.placement, olmo.attention.qkNorm], ['after', 'projection'])
  const granite = parse('GraniteForCausalLM', { embedding_multiplier: 12, attention_multiplier: 0.0625, residual_multiplier: 0.22, logits_scaling: 8 })
  t.match(granite, { embeddingScale: 12, residualScale: 0.22, logitScale: 0.125, attention: { scale: 0.0625 } })
})

t.test('Mixtral has experts in every layer, more than one and no more than it has', async t => {
  const config = parse('MixtralForCausalLM', { num_local_experts: 8, num_experts_per_tok: 2, sliding_window: null })
  t.strictSame(config.layers.map(({ mlp }) => mlp), ['experts', 'experts'])
  t.strictSame(config.experts, { count: 8, perToken: 2, intermediateSize: 160, normalizeTopK: true })
  for (const perToken of [0, 9, undefined]) t.throws(() => parse('MixtralForCausalLM', { num_local_experts: 8, num_experts_per_tok: perToken }), { code: 'ENGINE_INVALID_MODEL_CONFIG' })
})
