import { UnsupportedModelError } from '../../errors.ts'
import { JsonFields } from '../../models/json-fields.ts'

/** How compressed-tensors stores the integer weights of a checkpoint; one scheme for all of its modules. */
export interface CompressedTensorsScheme {
  readonly method: 'compressed-tensors'
  /** `weight_packed`, words of codes along each row; else `weight`, an int8 for each code. */
  readonly packed: boolean
  readonly bits: 4 | 8
  readonly symmetric: boolean
  readonly strategy: 'tensor' | 'channel' | 'group'
  /** With strategy `group`. */
  readonly groupSize: number | undefined
  /** Groups follow the order of activation: `weight_g_idx` says which column is in which. */
  readonly actOrder: boolean
  /** What the checkpoint asks for beside its weights and does not get: sentences for a report. */
  readonly notes: readonly string[]
}

const PATH = 'quantization_config.'
const FORMATS: readonly unknown[] = ['int-quantized', 'naive-quantized', 'pack-quantized']

/**
 * @throws UnsupportedModelError for floating-point codes, other formats, sparsity, transforms, and groups that disagree
 * @throws InvalidModelConfigError for what is not well-formed
 * @see https://github.com/vllm-project/compressed-tensors src/compressed_tensors/quantization/quant_config.py, quant_args.py
 */
export function parseCompressedTensors (config: unknown): CompressedTensorsScheme {
  const fields = JsonFields.of(config, PATH)
  const format = fields.get('format')
  if (!FORMATS.includes(format)) refuse('format', format, FORMATS.join(', '))
  const status = fields.get('quantization_status')
  if (status !== undefined && status !== 'compressed') refuse('quantization_status', status, 'compressed')
  const sparsity = fields.nested('sparsity_config')?.get('format')
  if (sparsity !== undefined && sparsity !== 'dense') refuse('sparsity_config.format', sparsity, 'dense')
  const transforms = fields.nested('transform_config')?.get('config_groups')
  if (entriesOf(transforms).length > 0) refuse('transform_config', transforms, 'weights without transforms')
  const notes: string[] = []
  if (fields.get('kv_cache_scheme') !== undefined) notes.push('the quantisation of the KV cache that the checkpoint asks for is not applied')
  const groups = fields.get('config_groups')
  const schemes = entriesOf(groups).flatMap(([name, group]) => {
    // A list of targets alone names a preset of the library's.
    if (Array.isArray(group)) refuse(`config_groups.${name}`, group, 'a scheme written out')
    return parseGroup(JsonFields.of(group, `${PATH}config_groups.${name}.`), `config_groups.${name}.`, format, notes)
  })
  const [first, ...others] = schemes
  if (first === undefined) return refuse('config_groups', groups, 'at least one group with weights')
  if (others.some(other => JSON.stringify(other) !== JSON.stringify(first))) {
    refuse('config_groups', groups, 'groups that store their weights alike')
  }
  return { ...first, notes: Object.freeze([...new Set(notes)]) }
}

/** No scheme where the group leaves its weights alone. */
function parseGroup (group: JsonFields, path: string, format: unknown, notes: string[]): ReadonlyArray<Omit<CompressedTensorsScheme, 'notes'>> {
  for (const side of ['input_activations', 'output_activations']) {
    if (group.get(side) !== undefined) notes.push(`the quantisation of ${side} that the checkpoint asks for is not applied`)
  }
  const weights = group.nested('weights')
  if (weights === undefined) return []
  const own = group.get('format') ?? format
  if (own !== format) refuse(`${path}format`, own, String(format))
  const type = weights.get('type') ?? 'int'
  if (type !== 'int') refuse(`${path}weights.type`, type, 'int')
  const bits = weights.get('num_bits') ?? 8
  if (bits !== 4 && bits !== 8) return refuse(`${path}weights.num_bits`, bits, '4, 8')
  const size = weights.get('group_size') === undefined ? undefined : weights.integer('group_size', { min: -1, max: 2 ** 31 })
  const strategy = weights.get('strategy') ?? (size === undefined ? 'tensor' : size === -1 ? 'channel' : 'group')
  if (strategy !== 'tensor' && strategy !== 'channel' && strategy !== 'group') return refuse(`${path}weights.strategy`, strategy, 'tensor, channel, group')
  if (strategy === 'group' && (size === undefined || size < 1)) refuse(`${path}weights.group_size`, size, 'a positive number for strategy group')
  const order = weights.get('actorder')
  return [{
    method: 'compressed-tensors',
    packed: format === 'pack-quantized',
    bits,
    symmetric: weights.boolean('symmetric', true),
    strategy,
    groupSize: strategy === 'group' ? size : undefined,
    actOrder: order === true || order === 'group' || order === 'dynamic'
  }]
}

function entriesOf (value: unknown): ReadonlyArray<[string, unknown]> {
  return typeof value === 'object' && value !== null ? Object.entries(value) : []
}

function refuse (field: string, value: unknown, supported: string): never {
  throw new UnsupportedModelError({ field: `${PATH}${field}`, value, supported })
}
