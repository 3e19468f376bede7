import type { StorageType } from '../engine.ts'
import { InvalidCheckpointError, WeightRangeError } from '../errors.ts'
import type { CheckpointTensor } from './checkpoint.ts'
import { converter } from './convert.ts'
import type { StoredValues } from './convert.ts'
import { BYTES_PER_VALUE, isPlainDtype } from './safetensors.ts'
import { checkRows, rowsOf } from './weight-tensor.ts'

// Large enough that a read's fixed cost vanishes, small enough that a piece is still in the CPU's cache when it is converted.
const PIECE_BYTES = 1 << 20

/**
 * Reads rows of checkpoint tensors in a storage type, converting piece by piece while the next piece is being read. Its memory
 * does not grow with the tensors: two pieces, and one result buffer as large as the largest result asked for with `readRows`.
 * One call at a time.
 */
export class RowReader {
  readonly #pieces = [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)] as const
  #result = new ArrayBuffer(0)

  /**
   * Rows `firstRow` to `firstRow + numRows` in `target`. The array returned is a view of a buffer that the next call overwrites.
   * @throws WeightRangeError when a finite value does not fit f16
   */
  readRows (tensor: CheckpointTensor, firstRow: number, numRows: number, target: 'f16'): Promise<Uint16Array>
  readRows (tensor: CheckpointTensor, firstRow: number, numRows: number, target: 'f32'): Promise<Float32Array>
  readRows (tensor: CheckpointTensor, firstRow: number, numRows: number, target: StorageType): Promise<StoredValues>
  async readRows (tensor: CheckpointTensor, firstRow: number, numRows: number, target: StorageType): Promise<StoredValues> {
    const count = numRows * rowsOf(tensor).rowLength
    const bytes = count * (target === 'f16' ? 2 : 4)
    checkRows(tensor, firstRow, numRows, Infinity)
    if (this.#result.byteLength < bytes) this.#result = new ArrayBuffer(bytes)
    const values = target === 'f16' ? new Uint16Array(this.#result, 0, count) : new Float32Array(this.#result, 0, count)
    await this.readRowsInto(tensor, firstRow, numRows, values)
    return values
  }

  /**
   * The same into the start of the caller's array, for example a mapped staging buffer: f16 bit patterns for a `Uint16Array`,
   * floats for a `Float32Array`. Without a change of type the file is read straight into it.
   * @throws RangeError when the rows are not the tensor's, or `destination` is too small
   */
  async readRowsInto (tensor: CheckpointTensor, firstRow: number, numRows: number, destination: StoredValues): Promise<void> {
    checkRows(tensor, firstRow, numRows, destination.length)
    const { rowLength } = rowsOf(tensor)
    const count = numRows * rowLength
    const target: StorageType = destination instanceof Uint16Array ? 'f16' : 'f32'
    const bytesPerValue = BYTES_PER_VALUE[tensor.dtype]
    const firstByte = firstRow * rowLength * bytesPerValue
    if (tensor.dtype.toLowerCase() === target) {
      await tensor.read(new Uint8Array(destination.buffer, destination.byteOffset, count * bytesPerValue), firstByte, count * bytesPerValue)
      return
    }
    await this.#convertPieces(tensor, firstByte, count, destination, target)
  }

  async #convertPieces (tensor: CheckpointTensor, firstByte: number, count: number, destination: StoredValues, target: StorageType): Promise<void> {
    if (!isPlainDtype(tensor.dtype)) throw new InvalidCheckpointError(`tensor ${tensor.name}`, `stored as ${tensor.dtype}, is no weight by itself; is a quantization_config missing from config.json?`)
    const convert = converter(tensor.dtype, target)
    const bytesPerValue = BYTES_PER_VALUE[tensor.dtype]
    const valuesPerPiece = PIECE_BYTES / bytesPerValue
    const valuesAt = (value: number): number => Math.min(valuesPerPiece, count - value)
    const fetch = async (value: number): Promise<Uint8Array> => {
      const piece = this.#pieces[value / valuesPerPiece % 2 === 0 ? 0 : 1]
      await tensor.read(piece, firstByte + value * bytesPerValue, valuesAt(value) * bytesPerValue)
      return piece
    }
    let next = count > 0 ? fetch(0) : undefined
    for (let value = 0; next !== undefined; value += valuesPerPiece) {
      const piece = await next
      next = value + valuesPerPiece < count ? fetch(value + valuesPerPiece) : undefined
      const numValues = valuesAt(value)
      const numOverflowed = convert(piece, numValues, destination, value)
      if (numOverflowed > 0) {
        // The read under way must not outlive this call: it writes into a piece that the next call uses.
        await next?.catch(() => {})
        throw new WeightRangeError({ tensor: tensor.name, from: tensor.dtype, to: target, numOverflowed, numValues })
      }
    }
  }
}
