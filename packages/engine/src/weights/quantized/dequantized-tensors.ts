import { InvalidCheckpointError } from '../../errors.ts'
import { plainTensor } from '../plain-tensor.ts'
import { RowReader } from '../row-reader.ts'
import type { WeightTensor } from '../weight-tensor.ts'
import { awqMatrix } from './awq.ts'
import { COMPRESSED_PARTS, compressedMatrix } from './compressed-tensors.ts'
import { expanded } from './expand.ts'
import { gptqMatrix } from './gptq.ts'
import { LastLoaded } from './last-loaded.ts'
import { parseQuantization } from './quantization-scheme.ts'
import type { QuantizationScheme } from './quantization-scheme.ts'
import type { QuantizedMatrix } from './quantized-matrix.ts'
import { QuantizedModule } from './quantized-module.ts'
import type { CheckpointTensor } from '../checkpoint.ts'

/** Parts of an AWQ or GPTQ module that stand for its weight. */
const WORD_PARTS: readonly string[] = Object.freeze(['qweight', 'qzeros', 'scales', 'g_idx'])
/** What a checkpoint with a `kv_cache_scheme` stores beside its weights. */
const CACHE_SCALES: readonly string[] = Object.freeze(['k_scale', 'v_scale', 'k_zero_point', 'v_zero_point'])

/**
 * The weights of a quantised checkpoint under the names they have in an unquantised one: each module's packed tensors become one
 * `<module>.weight` [out, in] that is expanded as it is read, everything else is as it is. The tensors of one call share
 * their memory: the packed tensor being read, where its layout scatters rows, and nothing else.
 * @param config config.json's `quantization_config`
 * @param file the directory or file, for errors
 * @throws UnsupportedModelError, InvalidModelConfigError for the config
 * @throws InvalidCheckpointError when a module's parts are not all there or do not fit each other
 */
export function dequantizedTensors (config: unknown, raw: ReadonlyMap<string, CheckpointTensor>, file = 'the checkpoint'): ReadonlyMap<string, WeightTensor> {
  const scheme = parseQuantization(config)
  const lastLoaded = new LastLoaded()
  const reader = new RowReader()
  const tensors = new Map<string, WeightTensor>()
  const consumed = new Set<string>()
  for (const [name, tensor] of raw) {
    const moduleName = quantizedModuleOf(scheme, name, tensor)
    if (moduleName === undefined) continue
    const module = new QuantizedModule(file, moduleName, raw)
    if (name !== `${moduleName}.weight` && module.has('weight')) module.refuse('weight', `is there both plain and as ${name}`)
    const matrix = matrixOf(scheme, module)
    tensors.set(matrix.name, expanded(matrix, lastLoaded))
    consumed.add(name)
    for (const part of partsOf(scheme)) consumed.add(`${moduleName}.${part}`)
  }
  for (const [name, tensor] of raw) {
    if (consumed.has(name) || isCacheScale(scheme, name)) continue
    if (isPart(scheme, name)) throw new InvalidCheckpointError(file, 'belongs to a quantised weight that is not there', { tensor: name })
    tensors.set(name, plainTensor(tensor, reader))
  }
  return tensors
}

/** The module whose codes a tensor holds; undefined for any other tensor. */
function quantizedModuleOf (scheme: QuantizationScheme, name: string, { dtype }: CheckpointTensor): string | undefined {
  if (scheme.method !== 'compressed-tensors') return before(name, '.qweight')
  return scheme.packed ? before(name, '.weight_packed') : dtype === 'I8' ? before(name, '.weight') : undefined
}

function matrixOf (scheme: QuantizationScheme, module: QuantizedModule): QuantizedMatrix {
  switch (scheme.method) {
    case 'awq': return awqMatrix(module, scheme)
    case 'gptq': return gptqMatrix(module, scheme)
    case 'compressed-tensors': return compressedMatrix(module, scheme)
  }
}

function partsOf (scheme: QuantizationScheme): readonly string[] {
  return scheme.method === 'compressed-tensors' ? COMPRESSED_PARTS : WORD_PARTS
}

function isPart (scheme: QuantizationScheme, name: string): boolean {
  return partsOf(scheme).some(part => before(name, `.${part}`) !== undefined)
}

function isCacheScale (scheme: QuantizationScheme, name: string): boolean {
  return scheme.method === 'compressed-tensors' && CACHE_SCALES.some(part => before(name, `.${part}`) !== undefined)
}

function before (name: string, suffix: string): string | undefined {
  return name.endsWith(suffix) ? name.slice(0, -suffix.length) : undefined
}
