/**
 * A weight [numRows, numColumns] that is stored as unsigned integer codes: with g = groupOf[column],
 * `weight[row][column] = (code[row][column] − zeros[row][g]) · scales[row][g]`.
 * Each format's file makes one of its packed tensors; what is done with the codes (expand.ts) knows nothing of the packing.
 */
export interface QuantizedMatrix {
  /** The name of the weight these tensors stand for. */
  readonly name: string
  /** For reports, for example `awq int4`. */
  readonly format: string
  /** Width of a code. */
  readonly bits: 4 | 8
  readonly numRows: number
  readonly numColumns: number
  /** From 1 to `numColumns`. */
  readonly numGroups: number
  /** In the file, companions included. */
  readonly byteLength: number
  /**
   * Reads what every row needs. Formats whose packing runs along the rows' outputs read all their codes here, because a few rows
   * are scattered over the whole packed tensor; the others read codes as they are asked for.
   * @throws InvalidCheckpointError
   */
  load (): Promise<LoadedMatrix>
}

export interface LoadedMatrix {
  /** [numRows][numGroups], finite. */
  readonly scales: Float32Array
  /** [numRows][numGroups], in the codes' own range. */
  readonly zeros: Uint8Array
  /** [numColumns], each below `numGroups`. */
  readonly groupOf: Uint32Array
  /**
   * Writes the codes of these rows to the start of `codes`, one byte each, row-major. The rows must be the matrix's, and `codes` must
   * start at a multiple of 4 bytes in its buffer.
   */
  readCodes (firstRow: number, numRows: number, codes: Uint8Array): Promise<void>
}
