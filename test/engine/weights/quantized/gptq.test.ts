import t from 'tap'
import { dequantizedTensors } from '../../../../packages/engine/src/weights/quantized/dequantized-tensors.ts'
import type { WeightTensor } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { randomBelow } from '../random-below.ts'
import { firstDifference } from './compare-weight.ts'
import { byName, memoryTensor, randomScales } from './memory-tensors.ts'
import type { MemoryTensor } from './memory-tensors.ts'

interface Settings {
  readonly numColumns: number
  readonly numRows: number
  readonly bits: 4 | 8
  readonly groupSize: number
  readonly version?: 'gptq' | 'gptq_v2'
  /** Group of each column; without it there is no g_idx. */
  readonly order?: readonly number[]
}

/** Codes [line][...] packed p to a word, the first in the lowest bits, along the lines of the matrix or down its columns. */
function packAlong (codes: readonly (readonly number[])[], bits: number): Uint32Array {
  const perWord = 32 / bits
  return Uint32Array.from(codes.flatMap(line => Array.from({ length: line.length / perWord }, (_, w) =>
    line.slice(w * perWord, (w + 1) * perWord).reduce((word, code, i) => word + code * 2 ** (bits * i), 0))))
}

function packDown (codes: readonly (readonly number[])[], bits: number): Uint32Array {
  const perWord = 32 / bits
  return Uint32Array.from(Array.from({ length: codes.length / perWord }, (_, w) => (codes[0] ?? []).map((_, j) =>
    codes.slice(w * perWord, (w + 1) * perWord).reduce((word, line, i) => word + (line[j] ?? 0) * 2 ** (bits * i), 0))).flat())
}

function randomGptq (seed: number, { numColumns, numRows, bits, groupSize, version = 'gptq', order }: Settings): { parts: Map<string, MemoryTensor>, formula: (row: number, column: number) => number } {
  const below = randomBelow(seed)
  const levels = 2 ** bits
  const numGroups = Math.ceil(numColumns / groupSize)
  const matrix = (lines: number): number[][] => Array.from({ length: lines }, () => Array.from({ length: numRows }, () => below(levels)))
  const codes = matrix(numColumns)
  const zeros = matrix(numGroups)
  const stored = zeros.map(line => line.map(zero => version === 'gptq' ? (zero + levels - 1) % levels : zero))
  const scales = randomScales('F16', numGroups * numRows, below)
  const parts = byName(
    memoryTensor('m.qweight', 'I32', [numColumns * bits / 32, numRows], packDown(codes, bits)),
    memoryTensor('m.qzeros', 'I32', [numGroups, numRows * bits / 32], packAlong(stored, bits)),
    memoryTensor('m.scales', 'F16', [numGroups, numRows], scales.stored)
  )
  if (order !== undefined) parts.set('m.g_idx', memoryTensor('m.g_idx', 'I32', [numColumns], Int32Array.from(order)))
  return {
    parts,
    formula: (row, column) => {
      const group = order?.[column] ?? Math.floor(column / groupSize)
      return ((codes[column]?.[row] ?? NaN) - (zeros[group]?.[row] ?? NaN)) * (scales.values[group * numRows + row] ?? NaN)
    }
  }
}

function weightOf (parts: Map<string, MemoryTensor>, settings: object): WeightTensor {
  const config = { quant_method: 'gptq', bits: 4, group_size: 32, desc_act: false, sym: false, ...settings }
  const weight = dequantizedTensors(config, parts, 'dir').get('m.weight')
  if (weight === undefined) throw new Error('no weight')
  return weight
}

function shuffled (values: readonly number[], seed: number): number[] {
  const below = randomBelow(seed)
  const result = [...values]
  for (let i = result.length - 1; i > 0; i--) {
    const j = below(i + 1)
    const moved = result[i] ?? 0
    result[i] = result[j] ?? 0
    result[j] = moved
  }
  return result
}

t.test('weights are (code − zero) · scale, for both widths and both versions of the format', async t => {
  const shapes = [[64, 16, 32], [128, 8, 128], [96, 40, 32], [8, 8, 8], [1024, 24, 64], [264, 16, 88]] as const
  for (const bits of [4, 8] as const) {
    for (const version of ['gptq', 'gptq_v2'] as const) {
      for (const [numColumns, numRows, groupSize] of shapes) {
        const { parts, formula } = randomGptq(numColumns + bits, { numColumns, numRows, bits, groupSize, version })
        const weight = weightOf(parts, { bits, group_size: groupSize, checkpoint_format: version })
        t.strictSame([weight.name, weight.format, weight.shape], ['m.weight', `gptq int${bits}`, [numRows, numColumns]])
        t.equal(await firstDifference(weight, 8, formula), undefined, `[${numRows}, ${numColumns}] in groups of ${groupSize}, ${bits} bits, ${version}`)
      }
    }
  }
})

t.test('without a format zeros are stored minus one, and a stored 15 is zero 0', async t => {
  const { parts, formula } = randomGptq(1, { numColumns: 64, numRows: 16, bits: 4, groupSize: 32 })
  t.equal(await firstDifference(weightOf(parts, {}), 8, formula), undefined)
  const one = byName(
    memoryTensor('m.qweight', 'I32', [1, 8], new Uint32Array(8).fill(0x76543210)),
    memoryTensor('m.qzeros', 'I32', [1, 1], Uint32Array.of(0x8f707fff)),
    memoryTensor('m.scales', 'F32', [1, 8], new Float32Array(8).fill(1))
  )
  const row = new Float32Array(8)
  const firstOf = async (rowIndex: number): Promise<number | undefined> => {
    await weightOf(one, { group_size: -1 }).readRowsInto(rowIndex, 1, row)
    return row[0]
  }
  t.strictSame([await firstOf(0), await firstOf(3), await firstOf(4), await firstOf(5), await firstOf(7)], [-0, -8, -1, -8, -9])
})

t.test('an uneven last group and one group for the whole row are read', async t => {
  const uneven = randomGptq(2, { numColumns: 104, numRows: 16, bits: 4, groupSize: 32 })
  t.equal(await firstDifference(weightOf(uneven.parts, {}), 8, uneven.formula), undefined)
  const whole = randomGptq(3, { numColumns: 104, numRows: 16, bits: 4, groupSize: 104 })
  t.equal(await firstDifference(weightOf(whole.parts, { group_size: -1 }), 8, whole.formula), undefined)
})

t.test('g_idx puts columns into groups in any order', async t => {
  for (const bits of [4, 8] as const) {
    const order = shuffled(Array.from({ length: 256 }, (_, i) => Math.floor(i / 64)), 4)
    const { parts, formula } = randomGptq(5, { numColumns: 256, numRows: 16, bits, groupSize: 64, order })
    t.equal(await firstDifference(weightOf(parts, { bits, group_size: 64, desc_act: true }), 8, formula), undefined, `${bits} bits`)
    t.equal(await firstDifference(weightOf(parts, { bits, group_size: 64, desc_act: false }), 8, formula), undefined, 'the files are believed, not desc_act')
  }
})

t.test('a g_idx of nothing but 0 over several groups is no index', async t => {
  const { parts, formula } = randomGptq(6, { numColumns: 64, numRows: 16, bits: 4, groupSize: 32 })
  parts.set('m.g_idx', memoryTensor('m.g_idx', 'I32', [64], new Int32Array(64)))
  t.equal(await firstDifference(weightOf(parts, {}), 8, formula), undefined)
})

t.test('parts that are missing or do not fit are named', async t => {
  const words = (count: number): Uint32Array => new Uint32Array(count)
  const cases: ReadonlyArray<readonly [string, MemoryTensor | undefined, RegExp]> = [
    ['m.qzeros', undefined, /tensor "m.qzeros": is missing/],
    ['m.scales', undefined, /tensor "m.scales": is missing/],
    ['m.g_idx', undefined, /tensor "m.g_idx": is missing/],
    ['m.qweight', undefined, /belongs to a quantised weight that is not there/],
    ['m.qweight', memoryTensor('m.qweight', 'I32', [8, 12], words(96)), /12 outputs, no multiple of the 8 whose zeros share a word/],
    ['m.qweight', memoryTensor('m.qweight', 'I64', [8, 16], words(256)), /stores I64/],
    ['m.qweight', memoryTensor('m.qweight', 'I32', [4, 16], words(64)), /"m.qzeros": has shape \[2, 2\]; its quantised weight needs \[1, 2\]/],
    ['m.qzeros', memoryTensor('m.qzeros', 'I32', [2, 4], words(8)), /needs \[2, 2\]/],
    ['m.scales', memoryTensor('m.scales', 'F16', [16, 2], words(16)), /needs \[2, 16\]/],
    ['m.g_idx', memoryTensor('m.g_idx', 'I32', [63], words(63)), /needs \[64\]/],
    ['m.weight', memoryTensor('m.weight', 'F16', [16, 64], words(512)), /tensor "m.weight": is there both plain and as m.qweight/]
  ]
  for (const [name, replacement, message] of cases) {
    const { parts } = randomGptq(7, { numColumns: 64, numRows: 16, bits: 4, groupSize: 32, order: Array.from({ length: 64 }, (_, i) => i % 2) })
    if (replacement === undefined) parts.delete(name)
    else parts.set(name, replacement)
    t.throws(() => weightOf(parts, { desc_act: true }), { code: 'ENGINE_INVALID_CHECKPOINT', message }, `${name} ${message.source}`)
  }
})

t.test('a column in a group that is not there is refused', async t => {
  for (const group of [2, -1]) {
    const order = Array.from({ length: 64 }, (_, i) => i === 40 ? group : i % 2)
    const { parts } = randomGptq(8, { numColumns: 64, numRows: 16, bits: 4, groupSize: 32, order })
    await t.rejects(weightOf(parts, { desc_act: true }).readRowsInto(0, 1, new Float32Array(64)), { message: `dir: tensor "m.g_idx": puts column 40 in group ${group} of 2` })
  }
})
