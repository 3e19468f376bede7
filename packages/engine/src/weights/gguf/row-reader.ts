import { WeightRangeError } from '../../errors.ts'
import type { ByteSource } from '../byte-source.ts'
import { converter } from '../convert.ts'
import type { StoredValues } from '../convert.ts'
import { checkRows, rowsOf } from '../weight-tensor.ts'
import type { WeightTensor } from '../weight-tensor.ts'
import { BLOCK_DECODERS, isPlainType } from './block-decoder.ts'
import { ggmlType } from './ggml-types.ts'
import type { GgufTensorEntry } from './tensor-infos.ts'

// Large enough that a read's fixed cost vanishes, small enough that a piece is still in the CPU's cache when it is decoded.
const PIECE_BYTES = 1 << 20
// What is decoded to floats only to be narrowed stays in the CPU's cache.
const SCRATCH_VALUES = 1 << 16

const narrow = converter('F32', 'f16')

/** Values of a tensor that lie in memory as the file has them: `numValues` from `firstValue` on, in whole blocks. */
interface Piece { readonly bytes: Uint8Array, readonly firstValue: number, readonly numValues: number }

/**
 * Reads rows of a GGUF file's tensors, decoding piece by piece while the next piece is being read. Its memory does not grow with
 * the tensors. One call at a time.
 */
export class GgufRowReader {
  readonly #source: ByteSource
  // Made at the first read: a model may have many files open.
  #pieces: readonly [Uint8Array, Uint8Array] | undefined
  #scratch: Float32Array | undefined
  #isReading = false

  constructor (source: ByteSource) {
    this.#source = source
  }

  /**
   * A tensor under its model's name. `shape` may regroup the entry's own, rows staying rows or becoming several: an expert stack
   * `[experts, rows, columns]` as `[experts · rows, columns]`.
   */
  tensor (entry: GgufTensorEntry, name: string, shape: readonly number[] = entry.shape): WeightTensor {
    const tensor: WeightTensor = {
      name,
      format: entry.type,
      shape,
      byteLength: entry.byteLength,
      readRowsInto: async (firstRow, numRows, destination) => {
        checkRows(tensor, firstRow, numRows, destination.length)
        if (this.#isReading) throw new Error(`tensor ${name}: another read of ${this.#source.name} is under way`)
        this.#isReading = true
        try {
          const { rowLength } = rowsOf(tensor)
          await this.#read(entry, name, firstRow * rowLength, numRows * rowLength, destination)
        } finally {
          this.#isReading = false
        }
      }
    }
    return tensor
  }

  async #read (entry: GgufTensorEntry, name: string, first: number, count: number, destination: StoredValues): Promise<void> {
    const { valuesPerBlock, bytesPerBlock } = ggmlType(entry.type)
    const isStoredAsAsked = entry.type === (destination instanceof Uint16Array ? 'F16' : 'F32')
    if (isStoredAsAsked) {
      const bytes = new Uint8Array(destination.buffer, destination.byteOffset, count * bytesPerBlock)
      await this.#source.read(bytes, entry.byteOffset + first * bytesPerBlock)
      return
    }
    const pieceBytes = Math.min(PIECE_BYTES, this.#source.byteLength)
    const pieces = this.#pieces ??= [new Uint8Array(pieceBytes), new Uint8Array(pieceBytes)]
    const blocksPerPiece = Math.floor(pieceBytes / bytesPerBlock)
    const endBlock = Math.ceil((first + count) / valuesPerBlock)
    const fetch = async (block: number, index: number): Promise<Piece> => {
      const numBlocks = Math.min(blocksPerPiece, endBlock - block)
      const bytes = pieces[index % 2 === 0 ? 0 : 1].subarray(0, numBlocks * bytesPerBlock)
      await this.#source.read(bytes, entry.byteOffset + block * bytesPerBlock)
      return { bytes, firstValue: block * valuesPerBlock, numValues: numBlocks * valuesPerBlock }
    }
    const firstBlock = Math.floor(first / valuesPerBlock)
    let next = count > 0 ? fetch(firstBlock, 0) : undefined
    for (let index = 0; next !== undefined; index++) {
      const piece = await next
      const nextBlock = firstBlock + (index + 1) * blocksPerPiece
      next = nextBlock < endBlock ? fetch(nextBlock, index + 1) : undefined
      const numOverflowed = this.#decode(entry, piece, first, count, destination)
      if (numOverflowed > 0) {
        // The read under way must not outlive this call: it writes into a piece that the next call uses.
        await next?.catch(() => {})
        throw new WeightRangeError({ tensor: name, from: entry.type, to: 'f16', numOverflowed, numValues: piece.numValues })
      }
    }
  }

  /** Those of the piece's values that are among the `count` from `first` on; returns how many finite ones became infinite. */
  #decode ({ type }: GgufTensorEntry, piece: Piece, first: number, count: number, destination: StoredValues): number {
    const { bytes, firstValue, numValues } = piece
    if (isPlainType(type)) {
      return converter(type, destination instanceof Uint16Array ? 'f16' : 'f32')(bytes, numValues, destination, firstValue - first)
    }
    const { valuesPerBlock, bytesPerBlock } = ggmlType(type)
    const decodeBlocks = BLOCK_DECODERS[type]
    if (destination instanceof Float32Array && firstValue >= first && firstValue + numValues <= first + count) {
      decodeBlocks(bytes, 0, numValues / valuesPerBlock, destination, firstValue - first)
      return 0
    }
    const scratch = this.#scratch ??= new Float32Array(SCRATCH_VALUES)
    let numOverflowed = 0
    for (let at = 0; at < numValues; at += SCRATCH_VALUES) {
      const numDecoded = Math.min(SCRATCH_VALUES, numValues - at)
      decodeBlocks(bytes, at / valuesPerBlock * bytesPerBlock, numDecoded / valuesPerBlock, scratch, 0)
      const from = Math.max(first - (firstValue + at), 0)
      const to = Math.min(first + count - (firstValue + at), numDecoded)
      if (to <= from) continue
      const wanted = scratch.subarray(from, to)
      const offset = firstValue + at + from - first
      if (destination instanceof Float32Array) destination.set(wanted, offset)
      else numOverflowed += narrow(new Uint8Array(wanted.buffer, wanted.byteOffset, wanted.byteLength), wanted.length, destination, offset)
    }
    return numOverflowed
  }
}
