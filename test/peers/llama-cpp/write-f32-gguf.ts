import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { FileSource, readGgufHeader } from '@daybreak/engine/gguf'
import type { GgufHeader } from '@daybreak/engine/gguf'
import { GgufRowReader } from '../../../packages/engine/src/weights/gguf/row-reader.ts'
import type { GgufTensorEntry } from '../../../packages/engine/src/weights/gguf/tensor-infos.ts'

const F32 = 0
/** Values decoded and written at a time. */
const PIECE_VALUES = 1 << 22

/**
 * Writes the GGUF file `from` once more, with every tensor's values as Daybreak's decoders give them, in f32. The metadata is
 * copied byte for byte, names, order and shapes stay. For llama.cpp to compute with: where a file's blocks are quantised it rounds
 * the activations as well, to 8 bits, and with floats it does not.
 */
export async function writeF32Gguf (from: string, to: string): Promise<void> {
  await using source = await FileSource.open(from)
  const header = await readGgufHeader(source)
  const tensors = [...header.tensors.values()]
  const offsets = placed(tensors, header.alignment)
  const file = await open(to, 'w')
  try {
    const metadata = await readMetadataBytes(source, header)
    const head = Buffer.concat([metadata, ...tensors.map((tensor, i) => tensorInfo(tensor, offsets[i] ?? 0))])
    const dataOffset = aligned(head.byteLength, header.alignment)
    await file.write(head, 0, head.byteLength, 0)
    const reader = new GgufRowReader(source)
    for (const [i, tensor] of tensors.entries()) await writeValues(file, reader, tensor, dataOffset + (offsets[i] ?? 0))
  } finally {
    await file.close()
  }
}

/** Where each tensor begins, from the start of the data. */
function placed (tensors: readonly GgufTensorEntry[], alignment: number): number[] {
  let end = 0
  return tensors.map(({ shape }) => {
    const start = aligned(end, alignment)
    end = start + 4 * shape.reduce((product, size) => product * size, 1)
    return start
  })
}

/** Everything before the first tensor's description, which is found by the name it begins with and the size of them all. */
async function readMetadataBytes (source: FileSource, { tensors, dataOffset, alignment }: GgufHeader): Promise<Uint8Array> {
  const bytes = Buffer.alloc(dataOffset)
  await source.read(bytes, 0)
  const [first] = tensors.values()
  if (first === undefined) throw new Error(`${source.name} has no tensors`)
  const infoBytes = [...tensors.values()].reduce((total, tensor) => total + tensorInfo(tensor, 0).byteLength, 0)
  // Behind the name come a type and an offset, which are the file's own.
  const start = bytes.lastIndexOf(tensorInfo(first, 0).subarray(0, -12))
  if (start === -1 || aligned(start + infoBytes, alignment) !== dataOffset) throw new Error(`${source.name}: where do its tensors' descriptions begin?`)
  return bytes.subarray(0, start)
}

/** Name, rank, dimensions with a row's length first, type and offset. @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
function tensorInfo ({ name, shape }: GgufTensorEntry, offset: number): Buffer {
  const text = Buffer.from(name)
  const info = Buffer.alloc(8 + text.byteLength + 4 + 8 * shape.length + 4 + 8)
  info.writeBigUInt64LE(BigInt(text.byteLength), 0)
  let at = 8 + text.copy(info, 8)
  at = info.writeUInt32LE(shape.length, at)
  for (const size of shape.toReversed()) at = info.writeBigUInt64LE(BigInt(size), at)
  at = info.writeUInt32LE(F32, at)
  info.writeBigUInt64LE(BigInt(offset), at)
  return info
}

async function writeValues (file: FileHandle, reader: GgufRowReader, entry: GgufTensorEntry, position: number): Promise<void> {
  const tensor = reader.tensor(entry, entry.name)
  const [numRows = 1, ...rest] = entry.shape
  const rowLength = rest.reduce((product, size) => product * size, 1)
  const rowsPerPiece = Math.max(1, Math.floor(PIECE_VALUES / rowLength))
  const values = new Float32Array(rowsPerPiece * rowLength)
  for (let row = 0; row < numRows; row += rowsPerPiece) {
    const rows = Math.min(rowsPerPiece, numRows - row)
    await tensor.readRowsInto(row, rows, values)
    const numBytes = 4 * rows * rowLength
    const { bytesWritten } = await file.write(new Uint8Array(values.buffer), 0, numBytes, position + 4 * row * rowLength)
    if (bytesWritten !== numBytes) throw new Error(`wrote ${bytesWritten} of ${numBytes} bytes of ${entry.name}`)
  }
}

function aligned (position: number, alignment: number): number {
  return Math.ceil(position / alignment) * alignment
}
