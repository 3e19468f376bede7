import type { StoredValues } from './convert.ts'

/**
 * One tensor of a model, whatever its file stores: rows of values that can be had in f16 or f32. Files make them (safetensors.ts,
 * gguf/), views below reshape them, and the uploader streams them; none of it ever holds a whole tensor.
 */
export interface WeightTensor {
  /** The model's own name for it, in Hugging Face's spelling. */
  readonly name: string
  /** What the file stores, as its format calls it: `BF16`, `Q4_K`, `awq int4`. For reports and errors. */
  readonly format: string
  /** Row-major; `[]` is a scalar, one row of one value. */
  readonly shape: readonly number[]
  /** Bytes in the file; a view's share of them. */
  readonly byteLength: number
  /**
   * Writes rows `firstRow` to `firstRow + numRows` (of the first dimension) to the start of `destination`: f16 bit patterns for a
   * `Uint16Array`, floats for a `Float32Array`, rounded to nearest even. One call at a time per file.
   * @throws RangeError when the rows are not the tensor's, or `destination` is too small
   * @throws WeightRangeError when a finite value does not fit f16
   * @throws InvalidCheckpointError when the file has shrunk since it was opened, or holds what no value can be made of
   */
  readRowsInto (firstRow: number, numRows: number, destination: StoredValues): Promise<void>
  /**
   * The same rows as the bf16 bit patterns that the file stores, where it stores those: the device converts them to f16, which one
   * thread of ours does at a third of the speed of a disk.
   */
  readonly readBF16?: (firstRow: number, numRows: number, destination: Uint16Array) => Promise<void>
}

/** The tensors of one model by name. Disposing it closes its files. */
export interface TensorSource extends AsyncDisposable {
  /** The directory or file, for errors. */
  readonly name: string
  readonly tensors: ReadonlyMap<string, WeightTensor>
}

/** The first dimension of a tensor and the values in each of its rows; a scalar is one row of one value. */
export function rowsOf (tensor: Pick<WeightTensor, 'shape'>): { readonly numRows: number, readonly rowLength: number } {
  const [numRows = 1, ...rest] = tensor.shape
  return { numRows, rowLength: rest.reduce((length, size) => length * size, 1) }
}

/** Throws unless rows and destination fit the tensor. @throws RangeError */
export function checkRows (tensor: Pick<WeightTensor, 'name' | 'shape'>, firstRow: number, numRows: number, destinationLength: number): void {
  const { numRows: available, rowLength } = rowsOf(tensor)
  const whole = Number.isSafeInteger(firstRow) && Number.isSafeInteger(numRows)
  if (!whole || firstRow < 0 || numRows < 0 || firstRow + numRows > available) {
    throw new RangeError(`tensor ${tensor.name}: rows ${firstRow} + ${numRows} of ${available}`)
  }
  if (destinationLength < numRows * rowLength) throw new RangeError(`tensor ${tensor.name}: ${numRows * rowLength} values into ${destinationLength}`)
}
