import type { CompressedTensorsScheme } from './compressed-tensors-scheme.ts'
import { consecutiveGroups, readGroupIndex, readScales, SCALE_DTYPES, transposed } from './group-values.ts'
import { unpackRows } from './packed-words.ts'
import type { LoadedMatrix, QuantizedMatrix } from './quantized-matrix.ts'
import type { QuantizedModule } from './quantized-module.ts'
import { readWhole, readWords } from './read-whole.ts'
import type { CheckpointTensor } from '../checkpoint.ts'

/** The parts of a compressed-tensors module that are consumed here, or that its weight can be computed without. */
export const COMPRESSED_PARTS: readonly string[] = Object.freeze([
  'weight_packed', 'weight_shape', 'weight_scale', 'weight_zero_point', 'weight_g_idx', 'input_scale', 'input_zero_point', 'output_scale', 'output_zero_point'
])

/**
 * compressed-tensors' integer weights: `weight` I8 [out, in], or `weight_packed` I32 [out, in · bits / 32] beside `weight_shape`;
 * `weight_scale` for the tensor ([1] or []), a row ([out, 1]) or a group of a row ([out, in / group]); zeros of the same shape, or
 * packed along their rows' outputs; weight[o][i] = (q − z) · s. Packed codes and zeros are offset by 2^(bits − 1), and codes here
 * are unsigned, so int8 codes and zeros get the same offset: it cancels.
 * @throws InvalidCheckpointError when a part is missing or does not fit the others
 * @see https://github.com/vllm-project/compressed-tensors src/compressed_tensors/compressors/pack_quantized/base.py,
 *   compressors/naive_quantized/base.py, quantization/lifecycle/forward.py (dequantize)
 */
export function compressedMatrix (module: QuantizedModule, scheme: CompressedTensorsScheme): QuantizedMatrix {
  const perWord = scheme.packed ? 32 / scheme.bits : 1
  const stored = scheme.packed ? module.tensor('weight_packed', ['I32'], [undefined, undefined]) : module.tensor('weight', ['I8'], [undefined, undefined])
  const [numRows = 0, packedColumns = 0] = stored.shape
  const numColumns = packedColumns * perWord
  const shape = scheme.packed ? module.tensor('weight_shape', ['I64', 'I32'], [2]) : undefined
  const groupSize = scheme.groupSize ?? numColumns
  if (numColumns % groupSize !== 0) module.refuse(scheme.packed ? 'weight_packed' : 'weight', `has ${numColumns} inputs, which groups of ${groupSize} do not divide`)
  const numGroups = numColumns / groupSize
  const scaleShapes = scheme.strategy === 'tensor' ? [[], [1], [1, 1]] : [[numRows, numGroups]]
  const scales = module.tensor('weight_scale', SCALE_DTYPES, ...scaleShapes)
  const zeros = scheme.symmetric && !module.has('weight_zero_point') ? undefined : zeroPoints(module, scheme, numRows, numGroups, scaleShapes)
  const isIndexed = scheme.strategy === 'group' && (scheme.actOrder || module.has('weight_g_idx'))
  const index = isIndexed ? module.tensor('weight_g_idx', ['I32'], [numColumns]) : undefined
  return {
    name: `${module.name}.weight`,
    format: `compressed-tensors int${scheme.bits}`,
    // An int8 holds 256 codes, whatever range the quantiser used.
    bits: scheme.packed ? scheme.bits : 8,
    numRows,
    numColumns,
    numGroups,
    byteLength: module.used.reduce((bytes, part) => bytes + part.byteLength, 0),
    async load () {
      if (shape !== undefined) await checkShape(module, shape, [numRows, numColumns])
      return {
        scales: filled(await readScales(module, 'weight_scale', scales), new Float32Array(numRows * numGroups)),
        zeros: await readZeros(zeros, scheme, numRows, numGroups),
        groupOf: await readGroups(module, index, numColumns, groupSize, numGroups),
        readCodes: codeReader(stored, scheme, packedColumns)
      }
    }
  }
}

function zeroPoints (module: QuantizedModule, scheme: CompressedTensorsScheme, numRows: number, numGroups: number, scaleShapes: ReadonlyArray<readonly number[]>): CheckpointTensor {
  // Packed weights pack their zeros as well, except a single one for the whole tensor.
  return scheme.packed && scheme.strategy !== 'tensor' && !scheme.symmetric
    ? module.tensor('weight_zero_point', ['I32'], [Math.ceil(numRows * scheme.bits / 32), numGroups])
    : module.tensor('weight_zero_point', ['I8'], ...scaleShapes)
}

async function readZeros (tensor: CheckpointTensor | undefined, scheme: CompressedTensorsScheme, numRows: number, numGroups: number): Promise<Uint8Array> {
  const offset = 1 << (scheme.packed ? scheme.bits : 8) - 1
  const zeros = new Uint8Array(numRows * numGroups)
  if (tensor === undefined) return zeros.fill(offset)
  if (tensor.dtype === 'I8') {
    const stored = await readWhole(tensor)
    return filled(stored.map(zero => zero + offset), zeros)
  }
  // Words [numRows / p][numGroups] with p rows of one group in a word: as GPTQ's zeros, by columns.
  const perWord = 32 / scheme.bits
  const words = await readWords(tensor)
  const numWords = words.length / numGroups
  const columns = new Uint8Array(words.length * perWord)
  unpackRows(transposedWords(words, numWords, numGroups), scheme.bits, columns)
  const byGroup = new Uint8Array(numGroups * numRows)
  for (let group = 0; group < numGroups; group++) {
    byGroup.set(columns.subarray(group * numWords * perWord, group * numWords * perWord + numRows), group * numRows)
  }
  return transposed(byGroup, numGroups, numRows, zeros)
}

function transposedWords (words: Uint32Array, numRows: number, numColumns: number): Uint32Array {
  return words.map((_, at) => words[at % numRows * numColumns + Math.floor(at / numRows)] ?? 0)
}

async function checkShape (module: QuantizedModule, tensor: CheckpointTensor, shape: readonly [number, number]): Promise<void> {
  const bytes = await readWhole(tensor)
  const sizes = tensor.dtype === 'I64' ? [...new BigInt64Array(bytes.buffer)] : [...new Int32Array(bytes.buffer)].map(BigInt)
  if (sizes.some((size, i) => size !== BigInt(shape[i] ?? 0))) {
    module.refuse('weight_shape', `is [${sizes.join(', ')}]; its packed weight has [${shape.join(', ')}]`)
  }
}

async function readGroups (module: QuantizedModule, index: CheckpointTensor | undefined, numColumns: number, groupSize: number, numGroups: number): Promise<Uint32Array> {
  if (index !== undefined) {
    // A −1 says that the index was never set: the columns are in order.
    const unset = new Int32Array((await readWords(index)).buffer).includes(-1)
    if (!unset) return readGroupIndex(module, 'weight_g_idx', index, numGroups)
  }
  return consecutiveGroups(numColumns, groupSize)
}

/** One value for all, or one for each. */
function filled<Values extends Float32Array | Uint8Array> (values: Values, into: Values): Values {
  if (values.length === 1) into.fill(values[0] ?? 0)
  else into.set(values)
  return into
}

function codeReader (stored: CheckpointTensor, scheme: CompressedTensorsScheme, packedColumns: number): LoadedMatrix['readCodes'] {
  if (scheme.packed) {
    return async (firstRow, numRows, codes) => {
      const words = new Uint32Array(numRows * packedColumns)
      await stored.read(new Uint8Array(words.buffer), firstRow * packedColumns * 4, words.byteLength)
      unpackRows(words, scheme.bits, codes)
    }
  }
  return async (firstRow, numRows, codes) => {
    const count = numRows * packedColumns
    await stored.read(codes, firstRow * packedColumns, count)
    // From two's complement to an offset of 128: the sign bit turns.
    for (let i = 0; i < count; i++) codes[i] = (codes[i] ?? 0) ^ 0x80
  }
}
