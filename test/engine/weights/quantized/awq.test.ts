import t from 'tap'
import { dequantizedTensors } from '../../../../packages/engine/src/weights/quantized/dequantized-tensors.ts'
import type { WeightTensor } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { randomBelow } from '../random-below.ts'
import { difference, firstDifference } from './compare-weight.ts'
import { byName, memoryTensor, randomScales } from './memory-tensors.ts'
import type { MemoryTensor } from './memory-tensors.ts'

const config = { quant_method: 'awq', bits: 4, group_size: 32, zero_point: true, version: 'gemm', modules_to_not_convert: null }

/** Nibble n of a word holds output ORDER[n] of its eight. */
const ORDER = [0, 2, 4, 6, 1, 3, 5, 7]

/** The format's words for codes [rows of the packed matrix][outputs]. */
function packOutputs (codes: readonly (readonly number[])[]): Uint32Array {
  return Uint32Array.from(codes.flatMap(line => Array.from({ length: line.length / 8 }, (_, w) => ORDER.reduce((word, output, nibble) => word + (line[8 * w + output] ?? 0) * 16 ** nibble, 0))))
}

interface Awq {
  readonly parts: Map<string, MemoryTensor>
  readonly formula: (row: number, column: number) => number
}

function randomAwq (seed: number, numColumns: number, numRows: number, groupSize: number, dtype: 'F16' | 'BF16' | 'F32' = 'F16'): Awq {
  const below = randomBelow(seed)
  const numGroups = numColumns / groupSize
  const matrix = (lines: number): number[][] => Array.from({ length: lines }, () => Array.from({ length: numRows }, () => below(16)))
  const codes = matrix(numColumns)
  const zeros = matrix(numGroups)
  const scales = randomScales(dtype, numGroups * numRows, below)
  return {
    parts: byName(
      memoryTensor('m.qweight', 'I32', [numColumns, numRows / 8], packOutputs(codes)),
      memoryTensor('m.qzeros', 'I32', [numGroups, numRows / 8], packOutputs(zeros)),
      memoryTensor('m.scales', dtype, [numGroups, numRows], scales.stored)
    ),
    formula: (row, column) => {
      const group = Math.floor(column / groupSize)
      return ((codes[column]?.[row] ?? NaN) - (zeros[group]?.[row] ?? NaN)) * (scales.values[group * numRows + row] ?? NaN)
    }
  }
}

function weightOf (parts: Map<string, MemoryTensor>, settings: object): WeightTensor {
  const weight = dequantizedTensors({ ...config, ...settings }, parts, 'dir').get('m.weight')
  if (weight === undefined) throw new Error('no weight')
  return weight
}

t.test('weights are (code − zero) · scale in the order of the unquantised tensor', async t => {
  const shapes = [[64, 16, 32], [128, 8, 128], [96, 40, 32], [48, 24, 16], [520, 72, 8], [8, 8, 8], [1024, 136, 64], [66, 16, 33], [7, 24, 7]] as const
  for (const [numColumns, numRows, groupSize] of shapes) {
    for (const dtype of ['F16', 'BF16', 'F32'] as const) {
      const { parts, formula } = randomAwq(numColumns + numRows, numColumns, numRows, groupSize, dtype)
      const weight = weightOf(parts, { group_size: groupSize })
      t.strictSame([weight.name, weight.format, weight.shape], ['m.weight', 'awq int4', [numRows, numColumns]])
      t.equal(await firstDifference(weight, 8, formula), undefined, `[${numRows}, ${numColumns}] in groups of ${groupSize}, ${dtype}`)
    }
  }
})

t.test('one group of the whole row is group_size −1', async t => {
  const { parts, formula } = randomAwq(5, 72, 16, 72)
  t.equal(await firstDifference(weightOf(parts, { group_size: -1 }), 8, formula), undefined)
})

t.test('rows are unpacked alike on both sides of a block of codes', async t => {
  // 524,288 codes are a block: 128 rows of 4,096.
  const { parts, formula } = randomAwq(6, 4096, 144, 128)
  const weight = weightOf(parts, { group_size: 128 })
  for (const [first, count] of [[0, 144], [1, 143], [120, 16], [127, 1], [127, 2], [128, 1], [128, 16]] as const) {
    t.equal(await difference(weight, first, count, formula), undefined, `rows ${first} + ${count}`)
  }
})

t.test('the bytes of a weight are those of its parts', async t => {
  const { parts } = randomAwq(7, 64, 16, 32)
  t.equal(weightOf(parts, {}).byteLength, 64 * 2 * 4 + 2 * 2 * 4 + 2 * 16 * 2)
})

t.test('parts that are missing or do not fit are named', async t => {
  const words = (count: number): Uint32Array => new Uint32Array(count)
  const cases: ReadonlyArray<readonly [string, MemoryTensor | undefined, RegExp]> = [
    ['m.qzeros', undefined, /tensor "m.qzeros": is missing/],
    ['m.scales', undefined, /tensor "m.scales": is missing/],
    ['m.qweight', undefined, /"m.qzeros": belongs to a quantised weight that is not there/],
    ['m.qweight', memoryTensor('m.qweight', 'I32', [128], words(128)), /"m.qweight": has shape \[128\]; its quantised weight needs \[≥ 1, ≥ 1\]/],
    ['m.qweight', memoryTensor('m.qweight', 'I32', [0, 2], words(0)), /has shape \[0, 2\]/],
    ['m.qweight', memoryTensor('m.qweight', 'F32', [64, 2], words(128)), /stores F32; this quantisation stores I32/],
    ['m.qweight', memoryTensor('m.qweight', 'I32', [63, 2], words(126)), /63 inputs, which groups of 32 do not divide/],
    ['m.qzeros', memoryTensor('m.qzeros', 'I32', [2, 3], words(6)), /has shape \[2, 3\]; its quantised weight needs \[2, 2\]/],
    ['m.qzeros', memoryTensor('m.qzeros', 'I32', [1, 2], words(2)), /needs \[2, 2\]/],
    ['m.scales', memoryTensor('m.scales', 'F32', [2, 15], words(30)), /needs \[2, 16\]/],
    ['m.scales', memoryTensor('m.scales', 'I32', [2, 16], words(32)), /stores I32; this quantisation stores F16 or BF16 or F32/]
  ]
  for (const [name, replacement, message] of cases) {
    const { parts } = randomAwq(8, 64, 16, 32)
    if (replacement === undefined) parts.delete(name)
    else parts.set(name, replacement)
    t.throws(() => weightOf(parts, {}), { code: 'ENGINE_INVALID_CHECKPOINT', message }, `${name} ${message.source}`)
  }
})

t.test('a scale that is no finite number is refused', async t => {
  for (const [bits, printed] of [[0x7c00, 'Infinity'], [0xfe00, 'NaN']] as const) {
    const { parts } = randomAwq(9, 64, 16, 32)
    const scales = new Uint16Array(32)
    scales[17] = bits
    parts.set('m.scales', memoryTensor('m.scales', 'F16', [2, 16], scales))
    await t.rejects(weightOf(parts, {}).readRowsInto(0, 1, new Float32Array(64)), { code: 'ENGINE_INVALID_CHECKPOINT', message: `dir: tensor "m.scales": scale 17 is ${printed}` })
  }
})
