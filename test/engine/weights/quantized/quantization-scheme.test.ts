import t from 'tap'
import { parseQuantization, quantizationNotes } from '../../../../packages/engine/src/weights/quantized/quantization-scheme.ts'

const awq = { quant_method: 'awq', bits: 4, group_size: 128, zero_point: true, version: 'gemm' }
const gptq = { quant_method: 'gptq', bits: 4, group_size: 128, desc_act: false, sym: true }
const weights = { num_bits: 8, type: 'int', symmetric: true, strategy: 'channel', dynamic: false, group_size: null, actorder: null, observer: 'minmax', observer_kwargs: {} }
const dynamicInputs = { num_bits: 8, type: 'int', symmetric: true, strategy: 'token', dynamic: true }
const group = { targets: ['Linear'], weights, input_activations: dynamicInputs, output_activations: null }
const compressed = { quant_method: 'compressed-tensors', format: 'int-quantized', quantization_status: 'compressed', config_groups: { group_0: group }, ignore: ['lm_head'], kv_cache_scheme: null, global_compression_ratio: 1.5 }
const withWeights = (changes: object): object => ({ ...compressed, config_groups: { group_0: { ...group, weights: { ...weights, ...changes } } } })

t.test('what quantisers write is understood', async t => {
  t.strictSame(parseQuantization({ ...awq, backend: 'autoawq', do_fuse: false, modules_to_not_convert: ['visual'] }), { method: 'awq', groupSize: 128 })
  t.strictSame(parseQuantization({ quant_method: 'awq', w_bit: 4, q_group_size: 64, zero_point: true, version: 'GEMM' }), { method: 'awq', groupSize: 64 })
  t.strictSame(parseQuantization({ ...awq, group_size: -1, checkpoint_format: 'gemm' }), { method: 'awq', groupSize: undefined })
  t.strictSame(parseQuantization(gptq), { method: 'gptq', bits: 4, groupSize: 128, actOrder: false, zeroOffset: 1 })
  t.strictSame(parseQuantization({ ...gptq, bits: 8, group_size: -1, desc_act: true, checkpoint_format: 'gptq_v2', pack_dtype: 'int32', dynamic: { '-:lm_head': {} } }),
    { method: 'gptq', bits: 8, groupSize: undefined, actOrder: true, zeroOffset: 0 })
  t.strictSame(parseQuantization({ ...gptq, format: 'gptq_v2' }), { method: 'gptq', bits: 4, groupSize: 128, actOrder: false, zeroOffset: 0 })
  t.match(parseQuantization(compressed), { method: 'compressed-tensors', packed: false, bits: 8, symmetric: true, strategy: 'channel', groupSize: undefined, actOrder: false })
  t.match(parseQuantization({ ...withWeights({ num_bits: 4, strategy: 'group', group_size: 128, actorder: 'group', symmetric: false }), format: 'pack-quantized' }),
    { packed: true, bits: 4, symmetric: false, strategy: 'group', groupSize: 128, actOrder: true })
  t.match(parseQuantization(withWeights({ strategy: null, group_size: 64, actorder: 'weight' })), { strategy: 'group', groupSize: 64, actOrder: false })
  t.match(parseQuantization(withWeights({ strategy: null, group_size: -1 })), { strategy: 'channel', groupSize: undefined })
  t.match(parseQuantization(withWeights({ strategy: null })), { strategy: 'tensor' })
})

t.test('what is asked for beside the weights is noted', async t => {
  t.match(parseQuantization(compressed), { notes: ['the quantisation of input_activations that the checkpoint asks for is not applied'] })
  const both = { ...compressed, config_groups: { a: group, b: group, c: { targets: ['LlamaAttention'], weights: null, output_activations: dynamicInputs } }, kv_cache_scheme: { num_bits: 8 } }
  const scheme = parseQuantization(both)
  t.equal('notes' in scheme && scheme.notes.length, 3)
  t.match(parseQuantization({ ...compressed, config_groups: { a: { ...group, input_activations: null } } }), { notes: [] })
  t.equal(quantizationNotes(scheme).length, 3)
  for (const silent of [undefined, parseQuantization(awq), parseQuantization(gptq)]) t.strictSame(quantizationNotes(silent), [])
})

t.test('what cannot be read is refused by the name of its field', async t => {
  const cases: ReadonlyArray<readonly [object, string]> = [
    [{ quant_method: 'fp8' }, 'quant_method'],
    [{ quant_method: 'bitsandbytes', load_in_4bit: true }, 'quant_method'],
    [{ bits: 4 }, 'quant_method'],
    [{ ...awq, bits: 8 }, 'bits'],
    [{ ...awq, bits: undefined }, 'bits'],
    [{ ...awq, bits: undefined, w_bit: 3 }, 'w_bit'],
    [{ ...awq, bits: '4' }, 'bits'],
    [{ ...awq, zero_point: false }, 'zero_point'],
    [{ ...awq, version: 'gemv' }, 'version'],
    [{ ...awq, version: 'gemv_fast' }, 'version'],
    [{ ...awq, format: 'gemv' }, 'format'],
    [{ ...awq, backend: 'llm-awq' }, 'backend'],
    [{ ...awq, group_size: 0 }, 'group_size'],
    [{ ...gptq, bits: 2 }, 'bits'],
    [{ ...gptq, bits: 3 }, 'bits'],
    [{ ...gptq, checkpoint_format: 'marlin' }, 'checkpoint_format'],
    [{ ...gptq, format: 'bitblas' }, 'format'],
    [{ ...gptq, is_marlin_format: true }, 'is_marlin_format'],
    [{ ...gptq, pack_dtype: 'int64' }, 'pack_dtype'],
    [{ ...gptq, dynamic: { '+:.*down.*': { bits: 8 } } }, 'dynamic'],
    [{ ...compressed, format: 'float-quantized' }, 'format'],
    [{ ...compressed, format: 'nvfp4-pack-quantized' }, 'format'],
    [{ ...compressed, format: 'marlin-24' }, 'format'],
    [{ ...compressed, format: undefined }, 'format'],
    [{ ...compressed, quantization_status: 'frozen' }, 'quantization_status'],
    [{ ...compressed, sparsity_config: { format: 'sparse-24-bitmask' } }, 'sparsity_config.format'],
    [{ ...compressed, transform_config: { config_groups: { R1: {} } } }, 'transform_config'],
    [{ ...compressed, config_groups: {} }, 'config_groups'],
    [{ ...compressed, config_groups: undefined }, 'config_groups'],
    [{ ...compressed, config_groups: { W8A8: ['Linear'] } }, 'config_groups.W8A8'],
    [{ ...compressed, config_groups: { a: group, b: { ...group, weights: { ...weights, num_bits: 4 } } } }, 'config_groups'],
    [{ ...compressed, config_groups: { a: { ...group, format: 'pack-quantized' } } }, 'config_groups.a.format'],
    [withWeights({ type: 'float' }), 'config_groups.group_0.weights.type'],
    [withWeights({ num_bits: 6 }), 'config_groups.group_0.weights.num_bits'],
    [withWeights({ strategy: 'block' }), 'config_groups.group_0.weights.strategy'],
    [withWeights({ strategy: 'group' }), 'config_groups.group_0.weights.group_size'],
    [withWeights({ strategy: null, group_size: 0 }), 'config_groups.group_0.weights.group_size']
  ]
  for (const [config, field] of cases) {
    t.throws(() => parseQuantization(config), { code: 'ENGINE_UNSUPPORTED_MODEL', details: { field: `quantization_config.${field}` } }, `${field} of ${JSON.stringify(config)}`)
  }
})

t.test('what is not well-formed is refused as such', async t => {
  for (const config of [null, 7, 'awq', [], { ...awq, group_size: 'all' }, { ...awq, group_size: -2 }, { ...awq, group_size: 1.5 }, { ...gptq, desc_act: 'yes' },
    { ...compressed, config_groups: { a: 7 } }, { ...compressed, config_groups: { a: { weights: 7 } } }, withWeights({ symmetric: 1 }), { ...compressed, sparsity_config: 1 }]) {
    t.throws(() => parseQuantization(config), { code: 'ENGINE_INVALID_MODEL_CONFIG' }, JSON.stringify(config))
  }
})
