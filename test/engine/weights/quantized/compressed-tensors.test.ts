import t from 'tap'
import { dequantizedTensors } from '../../../../packages/engine/src/weights/quantized/dequantized-tensors.ts'
import type { WeightTensor } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { randomBelow } from '../random-below.ts'
import { firstDifference } from './compare-weight.ts'
import { byName, memoryTensor, randomScales } from './memory-tensors.ts'
import type { MemoryTensor } from './memory-tensors.ts'

interface Settings {
  readonly numRows: number
  readonly numColumns: number
  readonly bits: 4 | 8
  readonly packed: boolean
  readonly strategy: 'tensor' | 'channel' | 'group'
  readonly groupSize?: number
  readonly symmetric?: boolean
  readonly order?: readonly number[]
  readonly dtype?: 'F16' | 'BF16' | 'F32'
}

/** Signed codes [row][column], offset by half their range and packed along each row, the first in the lowest bits. */
function pack (codes: readonly (readonly number[])[], bits: number): Uint32Array {
  const perWord = 32 / bits
  return Uint32Array.from(codes.flatMap(line => Array.from({ length: Math.ceil(line.length / perWord) }, (_, w) =>
    line.slice(w * perWord, (w + 1) * perWord).reduce((word, code, i) => word + (code + 2 ** (bits - 1)) * 2 ** (bits * i), 0))))
}

const flipped = (lines: readonly (readonly number[])[]): number[][] => (lines[0] ?? []).map((_, j) => lines.map(line => line[j] ?? 0))

function configOf ({ bits, packed, strategy, groupSize, symmetric = true, order }: Settings): object {
  const weights = { num_bits: bits, type: 'int', symmetric, strategy, group_size: groupSize ?? null, actorder: order === undefined ? null : 'group', dynamic: false }
  const activations = { num_bits: 8, type: 'int', symmetric: true, strategy: 'token', dynamic: true }
  return {
    quant_method: 'compressed-tensors',
    format: packed ? 'pack-quantized' : 'int-quantized',
    quantization_status: 'compressed',
    config_groups: { group_0: { targets: ['Linear'], weights, input_activations: packed ? null : activations, output_activations: null } },
    ignore: ['lm_head']
  }
}

function randomCompressed (seed: number, settings: Settings): { parts: Map<string, MemoryTensor>, formula: (row: number, column: number) => number } {
  const { numRows, numColumns, bits, packed, strategy, symmetric = true, order, dtype = 'BF16' } = settings
  const below = randomBelow(seed)
  const half = 2 ** (bits - 1)
  const groupSize = settings.groupSize ?? numColumns
  const numGroups = numColumns / groupSize
  const matrix = (lines: number, width: number): number[][] => Array.from({ length: lines }, () => Array.from({ length: width }, () => below(2 * half) - half))
  const codes = matrix(numRows, numColumns)
  const scaleRows = strategy === 'tensor' ? 1 : numRows
  const scaleShape = strategy === 'tensor' ? [1] : [numRows, numGroups]
  const zeros = matrix(scaleRows, numGroups)
  const scales = randomScales(dtype, scaleRows * numGroups, below)
  const parts = byName(
    packed
      ? memoryTensor('m.weight_packed', 'I32', [numRows, numColumns * bits / 32], pack(codes, bits))
      : memoryTensor('m.weight', 'I8', [numRows, numColumns], Int8Array.from(codes.flat())),
    memoryTensor('m.weight_scale', dtype, scaleShape, scales.stored)
  )
  if (packed) parts.set('m.weight_shape', memoryTensor('m.weight_shape', 'I64', [2], BigInt64Array.of(BigInt(numRows), BigInt(numColumns))))
  if (!symmetric) {
    // Packed along the rows, so eight (or four) rows' zeros of one group share a word.
    const words = flipped(zeros).map(line => [...pack([line], bits)])
    parts.set('m.weight_zero_point', packed && strategy !== 'tensor'
      ? memoryTensor('m.weight_zero_point', 'I32', [Math.ceil(numRows * bits / 32), numGroups], Uint32Array.from(flipped(words).flat()))
      : memoryTensor('m.weight_zero_point', 'I8', scaleShape, Int8Array.from(zeros.flat())))
  }
  if (order !== undefined) parts.set('m.weight_g_idx', memoryTensor('m.weight_g_idx', 'I32', [numColumns], Int32Array.from(order)))
  return {
    parts,
    formula: (row, column) => {
      const line = strategy === 'tensor' ? 0 : row
      const group = order === undefined || order.includes(-1) ? Math.floor(column / groupSize) : order[column] ?? NaN
      const zero = symmetric ? 0 : zeros[line]?.[group] ?? NaN
      return ((codes[row]?.[column] ?? NaN) - zero) * (scales.values[line * numGroups + group] ?? NaN)
    }
  }
}

function weightOf (parts: Map<string, MemoryTensor>, config: object): WeightTensor {
  const weight = dequantizedTensors(config, parts, 'dir').get('m.weight')
  if (weight === undefined) throw new Error('no weight')
  return weight
}

t.test('weights are (code − zero) · scale for every width, packing, strategy and symmetry', async t => {
  for (const bits of [4, 8] as const) {
    for (const packed of [false, true]) {
      for (const symmetric of [true, false]) {
        for (const [strategy, groupSize] of [['tensor', undefined], ['channel', undefined], ['group', 32], ['group', 8]] as const) {
          for (const [numRows, numColumns] of [[5, 96], [8, 64], [19, 32], [1, 1024]] as const) {
            const settings = { numRows, numColumns, bits, packed, strategy, symmetric, ...(groupSize === undefined ? {} : { groupSize }) }
            const { parts, formula } = randomCompressed(numRows + numColumns + bits, settings)
            const weight = weightOf(parts, configOf(settings))
            t.strictSame([weight.format, weight.shape], [`compressed-tensors int${bits}`, [numRows, numColumns]])
            t.equal(await firstDifference(weight, 8, formula), undefined, JSON.stringify(settings))
          }
        }
      }
    }
  }
})

t.test('scales of every dtype, and the naive format, are read', async t => {
  for (const dtype of ['F16', 'BF16', 'F32'] as const) {
    const settings = { numRows: 9, numColumns: 40, bits: 8, packed: false, strategy: 'channel', dtype } as const
    const { parts, formula } = randomCompressed(3, settings)
    t.equal(await firstDifference(weightOf(parts, { ...configOf(settings), format: 'naive-quantized' }), 8, formula), undefined, dtype)
  }
})

t.test('rows of odd length are read, whichever way their products are made', async t => {
  for (const numColumns of [1, 7, 511, 512, 513, 1027]) {
    const settings = { numRows: 3, numColumns, bits: 8, packed: false, strategy: 'channel', symmetric: false } as const
    const { parts, formula } = randomCompressed(numColumns, settings)
    t.equal(await firstDifference(weightOf(parts, configOf(settings)), 8, formula), undefined, `${numColumns}`)
  }
})

t.test('weight_g_idx puts columns into groups in any order, unless it was never set', async t => {
  const orders = [Array.from({ length: 64 }, (_, i) => i * 7 % 4), Array.from({ length: 64 }, () => -1)]
  for (const order of orders) {
    for (const packed of [false, true]) {
      const settings = { numRows: 10, numColumns: 64, bits: 4, packed, strategy: 'group', groupSize: 16, symmetric: false, order } as const
      const { parts, formula } = randomCompressed(4, settings)
      t.equal(await firstDifference(weightOf(parts, configOf(settings)), 8, formula), undefined)
      const { order: _, ...unnamed } = settings
      t.equal(await firstDifference(weightOf(parts, configOf(unnamed)), 8, formula), undefined, 'the files are believed, not actorder')
    }
  }
})

t.test('a weight_g_idx is missing or names groups that are not there', async t => {
  const settings = { numRows: 2, numColumns: 32, bits: 8, packed: false, strategy: 'group', groupSize: 16, order: Array.from({ length: 32 }, (_, i) => i === 9 ? 2 : i % 2) } as const
  const { parts } = randomCompressed(5, settings)
  await t.rejects(weightOf(parts, configOf(settings)).readRowsInto(0, 1, new Float32Array(32)), { code: 'ENGINE_INVALID_CHECKPOINT', message: 'dir: tensor "m.weight_g_idx": puts column 9 in group 2 of 2' })
  parts.delete('m.weight_g_idx')
  t.throws(() => weightOf(parts, configOf(settings)), { code: 'ENGINE_INVALID_CHECKPOINT', message: /"m.weight_g_idx": is missing/ })
})

t.test('a zero point beside symmetric weights is subtracted all the same', async t => {
  const settings = { numRows: 4, numColumns: 16, bits: 8, packed: false, strategy: 'channel', symmetric: false } as const
  const { parts, formula } = randomCompressed(5, settings)
  t.equal(await firstDifference(weightOf(parts, configOf({ ...settings, symmetric: true })), 8, formula), undefined)
})

t.test('only the rows asked for are read', async t => {
  const settings = { numRows: 64, numColumns: 256, bits: 8, packed: false, strategy: 'channel' } as const
  const { parts } = randomCompressed(6, settings)
  await weightOf(parts, configOf(settings)).readRowsInto(10, 3, new Float32Array(3 * 256))
  t.equal(parts.get('m.weight')?.bytesRead, 3 * 256)
})

t.test('scales of activations are no part of the model', async t => {
  const settings = { numRows: 4, numColumns: 16, bits: 8, packed: false, strategy: 'channel' } as const
  const { parts } = randomCompressed(7, settings)
  for (const name of ['m.input_scale', 'a.k_scale', 'a.v_scale']) parts.set(name, memoryTensor(name, 'F32', [1], new Float32Array(1)))
  t.strictSame([...dequantizedTensors(configOf(settings), parts, 'dir').keys()], ['m.weight'])
})

t.test('parts that are missing or do not fit are named', async t => {
  const int8 = { numRows: 8, numColumns: 64, bits: 8, packed: false, strategy: 'group', groupSize: 32, symmetric: false } as const
  const packed = { ...int8, bits: 4, packed: true } as const
  const cases: ReadonlyArray<readonly [Settings, string, MemoryTensor | undefined, RegExp]> = [
    [int8, 'm.weight_scale', undefined, /tensor "m.weight_scale": is missing/],
    [int8, 'm.weight_zero_point', undefined, /tensor "m.weight_zero_point": is missing/],
    [int8, 'm.weight', undefined, /belongs to a quantised weight that is not there/],
    [int8, 'm.weight', memoryTensor('m.weight', 'I8', [512], new Uint8Array(512)), /has shape \[512\]/],
    [int8, 'm.weight', memoryTensor('m.weight', 'I8', [8, 63], new Uint8Array(504)), /63 inputs, which groups of 32 do not divide/],
    [int8, 'm.weight_scale', memoryTensor('m.weight_scale', 'BF16', [8, 1], new Uint16Array(8)), /has shape \[8, 1\]; its quantised weight needs \[8, 2\]/],
    [int8, 'm.weight_zero_point', memoryTensor('m.weight_zero_point', 'I32', [1, 2], new Uint32Array(2)), /stores I32; this quantisation stores I8/],
    [packed, 'm.weight_shape', undefined, /tensor "m.weight_shape": is missing/],
    [packed, 'm.weight_shape', memoryTensor('m.weight_shape', 'I64', [1], new BigInt64Array(1)), /needs \[2\]/],
    [packed, 'm.weight_zero_point', memoryTensor('m.weight_zero_point', 'I32', [2, 2], new Uint32Array(4)), /needs \[1, 2\]/],
    [packed, 'm.weight', memoryTensor('m.weight', 'BF16', [8, 64], new Uint16Array(512)), /is there both plain and as m.weight_packed/],
    [{ ...int8, strategy: 'tensor' }, 'm.weight_scale', memoryTensor('m.weight_scale', 'F32', [2], new Float32Array(2)), /needs \[\] or \[1\] or \[1, 1\]/]
  ]
  for (const [settings, name, replacement, message] of cases) {
    const { parts } = randomCompressed(8, settings)
    if (replacement === undefined) parts.delete(name)
    else parts.set(name, replacement)
    t.throws(() => weightOf(parts, configOf(settings)), { code: 'ENGINE_INVALID_CHECKPOINT', message }, `${name} ${message.source}`)
  }
})

t.test('a weight_shape that is not the packed shape is refused', async t => {
  const settings = { numRows: 8, numColumns: 64, bits: 4, packed: true, strategy: 'channel' } as const
  for (const shape of [[8n, 63n], [16n, 32n], [-8n, 64n], [8n, 2n ** 62n]]) {
    const { parts } = randomCompressed(9, settings)
    parts.set('m.weight_shape', memoryTensor('m.weight_shape', 'I64', [2], BigInt64Array.from(shape)))
    await t.rejects(weightOf(parts, configOf(settings)).readRowsInto(0, 1, new Float32Array(64)), {
      code: 'ENGINE_INVALID_CHECKPOINT', message: `dir: tensor "m.weight_shape": is [${shape.join(', ')}]; its packed weight has [8, 64]`
    })
  }
  const { parts, formula } = randomCompressed(9, settings)
  parts.set('m.weight_shape', memoryTensor('m.weight_shape', 'I32', [2], Int32Array.of(8, 64)))
  t.equal(await firstDifference(weightOf(parts, configOf(settings)), 8, formula), undefined, 'an I32 shape is one as well')
})
