import type { WeightTensor } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { halfValue } from '../half-reference.ts'
import { asFloat, asHalf } from './memory-tensors.ts'

/**
 * Reads rows in f32 and in f16 and compares every value with `formula`, exactly; −0 and 0 are the same.
 * @returns what differs first, or undefined
 */
export async function difference (tensor: WeightTensor, firstRow: number, numRows: number, formula: (row: number, column: number) => number): Promise<string | undefined> {
  const [, numColumns = 1] = tensor.shape
  const floats = new Float32Array(numRows * numColumns + 1).fill(-77)
  const halves = new Uint16Array(numRows * numColumns + 1).fill(0x5678)
  await tensor.readRowsInto(firstRow, numRows, floats)
  await tensor.readRowsInto(firstRow, numRows, halves)
  for (let row = 0; row < numRows; row++) {
    for (let column = 0; column < numColumns; column++) {
      const at = row * numColumns + column
      const wanted = formula(firstRow + row, column)
      if (floats[at] !== asFloat(wanted)) return `f32 [${firstRow + row}, ${column}] is ${floats[at]}, not ${asFloat(wanted)}`
      const half = halfValue(halves[at] ?? NaN)
      if (half !== asHalf(wanted)) return `f16 [${firstRow + row}, ${column}] is ${half}, not ${asHalf(wanted)}`
    }
  }
  return floats.at(-1) === -77 && halves.at(-1) === 0x5678 ? undefined : 'writes past the rows asked for'
}

/** The whole weight, then every slice that begins or ends beside a multiple of `boundary` rows. */
export async function firstDifference (tensor: WeightTensor, boundary: number, formula: (row: number, column: number) => number): Promise<string | undefined> {
  const [allRows = 0] = tensor.shape
  const whole = await difference(tensor, 0, allRows, formula)
  if (whole !== undefined) return whole
  const edges = [0, 1, boundary - 1, boundary, boundary + 1, 2 * boundary, allRows - 1, allRows].filter(edge => edge >= 0 && edge <= allRows)
  for (const from of edges) {
    for (const to of edges) {
      if (from > to) continue
      const found = await difference(tensor, from, to - from, formula)
      if (found !== undefined) return `rows ${from} to ${to}: ${found}`
    }
  }
  return undefined
}
