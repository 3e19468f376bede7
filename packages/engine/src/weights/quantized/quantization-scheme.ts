import { UnsupportedModelError } from '../../errors.ts'
import { JsonFields } from '../../models/json-fields.ts'
import { parseCompressedTensors } from './compressed-tensors-scheme.ts'
import type { CompressedTensorsScheme } from './compressed-tensors-scheme.ts'

/** `groupSize` undefined: one group spans the whole row. */
export interface AwqScheme {
  readonly method: 'awq'
  readonly groupSize: number | undefined
}

export interface GptqScheme {
  readonly method: 'gptq'
  readonly bits: 4 | 8
  readonly groupSize: number | undefined
  /** Groups follow the order of activation (`desc_act`): the checkpoint must say which column is in which. */
  readonly actOrder: boolean
  /** What is added to a stored zero: 1 for format `gptq`, 0 for `gptq_v2`. */
  readonly zeroOffset: 0 | 1
}

export type QuantizationScheme = AwqScheme | GptqScheme | CompressedTensorsScheme

const PATH = 'quantization_config.'
const MAX_GROUP_SIZE = 2 ** 31

/**
 * How config.json's `quantization_config` says that weights are stored. Which modules are quantised is not read from it
 * (`modules_to_not_convert`, `ignore`, `dynamic`'s exclusions, `targets`): the tensors in the files say so themselves.
 * @throws UnsupportedModelError for what is well-formed but cannot be read
 * @throws InvalidModelConfigError for what is not well-formed
 * @see https://github.com/huggingface/transformers src/transformers/utils/quantization_config.py
 */
export function parseQuantization (config: unknown): QuantizationScheme {
  const fields = JsonFields.of(config, PATH)
  const method = fields.get('quant_method')
  if (method === 'awq') return parseAwq(fields)
  if (method === 'gptq') return parseGptq(fields)
  if (method === 'compressed-tensors') return parseCompressedTensors(config)
  throw new UnsupportedModelError({ field: `${PATH}quant_method`, value: method, supported: 'awq, gptq, compressed-tensors' })
}

/** What a checkpoint asks for beside its weights and does not get: sentences for a report, without their capital and full stop. */
export function quantizationNotes (scheme: QuantizationScheme | undefined): readonly string[] {
  return scheme?.method === 'compressed-tensors' ? scheme.notes : []
}

/** @see https://github.com/casper-hansen/AutoAWQ awq/models/_config.py: `w_bit` and `q_group_size` are older names */
function parseAwq (fields: JsonFields): AwqScheme {
  const bitsField = fields.get('bits') === undefined && fields.get('w_bit') !== undefined ? 'w_bit' : 'bits'
  const groupField = fields.get('group_size') === undefined && fields.get('q_group_size') !== undefined ? 'q_group_size' : 'group_size'
  expect(fields, bitsField, [4], '4')
  expect(fields, 'zero_point', [true, undefined], 'true')
  expect(fields, 'backend', ['autoawq', undefined], 'autoawq')
  // GPTQModel writes the layout as `checkpoint_format` or `format`.
  for (const field of ['version', 'checkpoint_format', 'format']) expect(fields, field, ['gemm', 'GEMM', undefined], 'gemm')
  return { method: 'awq', groupSize: groupSize(fields, groupField) }
}

/** @see https://github.com/ModelCloud/GPTQModel gptqmodel/quantization/config.py */
function parseGptq (fields: JsonFields): GptqScheme {
  expect(fields, 'bits', [4, 8], '4, 8')
  expect(fields, 'pack_dtype', ['int32', undefined], 'int32')
  expect(fields, 'is_marlin_format', [false, undefined], 'false')
  for (const field of ['checkpoint_format', 'format']) expect(fields, field, ['gptq', 'gptq_v2', undefined], 'gptq, gptq_v2')
  const format = fields.get('checkpoint_format') ?? fields.get('format')
  const dynamic = fields.get('dynamic')
  if (dynamic !== undefined) {
    // Entries that begin with "-:" leave modules as they are; the others give some modules settings of their own.
    if (typeof dynamic !== 'object' || dynamic === null || Object.keys(dynamic).some(pattern => !pattern.startsWith('-:'))) {
      throw new UnsupportedModelError({ field: `${PATH}dynamic`, value: dynamic, supported: 'exclusions ("-:…"); one bits and group_size for all modules' })
    }
  }
  return {
    method: 'gptq',
    bits: fields.get('bits') === 8 ? 8 : 4,
    groupSize: groupSize(fields, 'group_size'),
    actOrder: fields.boolean('desc_act', false),
    zeroOffset: format === 'gptq_v2' ? 0 : 1
  }
}

function groupSize (fields: JsonFields, field: string): number | undefined {
  const size = fields.integer(field, { min: -1, max: MAX_GROUP_SIZE })
  if (size === 0) throw new UnsupportedModelError({ field: `${PATH}${field}`, value: 0, supported: 'a positive number, or -1 for whole rows' })
  return size === -1 ? undefined : size
}

function expect (fields: JsonFields, field: string, values: readonly unknown[], supported: string): void {
  const value = fields.get(field)
  if (!values.includes(value)) throw new UnsupportedModelError({ field: `${PATH}${field}`, value, supported })
}
