import { WeightRangeError } from '../../errors.ts'
import { converter } from '../convert.ts'
import type { StoredValues } from '../convert.ts'
import { F16_EXPONENT } from '../half-float.ts'
import { checkRows } from '../weight-tensor.ts'
import type { WeightTensor } from '../weight-tensor.ts'
import type { LastLoaded } from './last-loaded.ts'
import type { LoadedMatrix, QuantizedMatrix } from './quantized-matrix.ts'

// Codes of so many values at a time: they stay in the CPU's cache between unpacking and expanding.
const BLOCK_CODES = 1 << 19
// Rows share words in runs of at most 8: a block that ends on their boundary unpacks each word once.
const ROWS_PER_WORD = 8

/**
 * The matrix as a plain weight, expanded row by row as it is read: (code − zero) · scale in f32, rounded once more for f16. With f16
 * scales and codes of up to 8 bits the product is exact in f32, so an f16 result is the one that the formats' own kernels have.
 */
export function expanded (matrix: QuantizedMatrix, lastLoaded: LastLoaded): WeightTensor {
  const { name, format, numRows: allRows, numColumns, byteLength } = matrix
  const rowsAtOnce = Math.max(1, Math.floor(BLOCK_CODES / numColumns / ROWS_PER_WORD)) * ROWS_PER_WORD
  const tensor: WeightTensor = {
    name,
    format,
    shape: Object.freeze([allRows, numColumns]),
    byteLength,
    async readRowsInto (firstRow, numRows, destination) {
      checkRows(tensor, firstRow, numRows, destination.length)
      if (numRows === 0) return
      const loaded = await lastLoaded.get(matrix)
      const codes = new Uint8Array(Math.min(rowsAtOnce, numRows) * numColumns)
      const expander = new RowExpander(matrix, loaded)
      const end = firstRow + numRows
      for (let row = firstRow; row < end;) {
        const count = Math.min(rowsAtOnce - row % ROWS_PER_WORD, end - row)
        await loaded.readCodes(row, count, codes)
        for (let i = 0; i < count; i++) {
          expander.expand(row + i, codes.subarray(i * numColumns, (i + 1) * numColumns), destination, (row + i - firstRow) * numColumns)
        }
        row += count
      }
      if (end === allRows) lastLoaded.forget(matrix)
    }
  }
  return tensor
}

/** Expands rows of one matrix into one kind of destination, with the room for it made once. */
class RowExpander {
  readonly #matrix: QuantizedMatrix
  readonly #loaded: LoadedMatrix
  /** Place of each column's group in the table; undefined where a table of every code in every group would outgrow half a row. */
  readonly #tableOf: Uint32Array | undefined
  readonly #floats: Float32Array
  readonly #halves: Uint16Array

  constructor (matrix: QuantizedMatrix, loaded: LoadedMatrix) {
    const { bits, numGroups, numColumns } = matrix
    const tableLength = numGroups * 2 ** bits
    this.#matrix = matrix
    this.#loaded = loaded
    this.#tableOf = tableLength <= numColumns / 2 ? loaded.groupOf.map(group => group << bits) : undefined
    this.#floats = new Float32Array(this.#tableOf === undefined ? numColumns : tableLength)
    this.#halves = new Uint16Array(this.#tableOf === undefined ? 0 : tableLength)
  }

  expand (row: number, codes: Uint8Array, destination: StoredValues, offset: number): void {
    if (this.#tableOf === undefined) this.#multiply(row, codes, destination, offset)
    else this.#lookUp(row, codes, this.#tableOf, destination, offset)
  }

  #multiply (row: number, codes: Uint8Array, destination: StoredValues, offset: number): void {
    const { groupOf } = this.#loaded
    const { scales, zeros } = this.#groupsOf(row)
    const floats = this.#floats
    for (let i = 0; i < codes.length; i++) {
      const group = groupOf[i] ?? 0
      floats[i] = ((codes[i] ?? 0) - (zeros[group] ?? 0)) * (scales[group] ?? 0)
    }
    const numOverflowed = this.#convert(floats, destination, offset)
    if (numOverflowed > 0) this.#refuse(numOverflowed)
  }

  /** Far fewer products than values: one for each code in each group, converted once. */
  #lookUp (row: number, codes: Uint8Array, tableOf: Uint32Array, destination: StoredValues, offset: number): void {
    const { bits, numGroups } = this.#matrix
    const { scales, zeros } = this.#groupsOf(row)
    const floats = this.#floats
    for (let group = 0, at = 0; group < numGroups; group++) {
      const zero = zeros[group] ?? 0
      const scale = scales[group] ?? 0
      for (let code = 0; code < 1 << bits; code++) floats[at++] = (code - zero) * scale
    }
    if (destination instanceof Float32Array) {
      fill(destination, offset, codes, tableOf, floats)
      return
    }
    const halves = this.#halves
    const mayOverflow = this.#convert(floats, halves, 0) > 0
    fill(destination, offset, codes, tableOf, halves)
    if (!mayOverflow) return
    let numOverflowed = 0
    for (let i = 0; i < codes.length; i++) if (((destination[offset + i] ?? 0) & F16_EXPONENT) === F16_EXPONENT) numOverflowed++
    if (numOverflowed > 0) this.#refuse(numOverflowed)
  }

  #groupsOf (row: number): Pick<LoadedMatrix, 'scales' | 'zeros'> {
    const { numGroups } = this.#matrix
    const { scales, zeros } = this.#loaded
    return { scales: scales.subarray(row * numGroups, (row + 1) * numGroups), zeros: zeros.subarray(row * numGroups, (row + 1) * numGroups) }
  }

  #convert (floats: Float32Array, destination: StoredValues, offset: number): number {
    return converter('F32', destination instanceof Uint16Array ? 'f16' : 'f32')(new Uint8Array(floats.buffer), floats.length, destination, offset)
  }

  #refuse (numOverflowed: number): never {
    const { name: tensor, format: from, numColumns: numValues } = this.#matrix
    throw new WeightRangeError({ tensor, from, to: 'f16', numOverflowed, numValues })
  }
}

function fill (destination: StoredValues, offset: number, codes: Uint8Array, tableOf: Uint32Array, table: StoredValues): void {
  // One load for four codes, where the row starts on their boundary.
  const quads = codes.byteOffset % 4 === 0 ? new Uint32Array(codes.buffer, codes.byteOffset, codes.length >>> 2) : new Uint32Array(0)
  for (let quad = 0; quad < quads.length; quad++) {
    const four = quads[quad] ?? 0
    const i = 4 * quad
    const at = offset + i
    destination[at] = table[(tableOf[i] ?? 0) + (four & 255)] ?? 0
    destination[at + 1] = table[(tableOf[i + 1] ?? 0) + (four >>> 8 & 255)] ?? 0
    destination[at + 2] = table[(tableOf[i + 2] ?? 0) + (four >>> 16 & 255)] ?? 0
    destination[at + 3] = table[(tableOf[i + 3] ?? 0) + (four >>> 24)] ?? 0
  }
  for (let i = 4 * quads.length; i < codes.length; i++) destination[offset + i] = table[(tableOf[i] ?? 0) + (codes[i] ?? 0)] ?? 0
}
