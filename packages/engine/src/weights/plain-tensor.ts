import type { CheckpointTensor } from './checkpoint.ts'
import { RowReader } from './row-reader.ts'
import { checkRows, rowsOf } from './weight-tensor.ts'
import type { WeightTensor } from './weight-tensor.ts'

/** A safetensors tensor as rows of values; tensors of one file share a reader, and so its buffers. */
export function plainTensor (tensor: CheckpointTensor, reader: RowReader = new RowReader()): WeightTensor {
  return {
    name: tensor.name,
    format: tensor.dtype,
    shape: tensor.shape,
    byteLength: tensor.byteLength,
    readRowsInto: (firstRow, numRows, destination) => reader.readRowsInto(tensor, firstRow, numRows, destination),
    ...tensor.dtype === 'BF16' ? { readBF16: (firstRow, numRows, destination) => readStored(tensor, firstRow, numRows, destination) } : {}
  }
}

async function readStored (tensor: CheckpointTensor, firstRow: number, numRows: number, destination: Uint16Array): Promise<void> {
  checkRows(tensor, firstRow, numRows, destination.length)
  const { rowLength } = rowsOf(tensor)
  await tensor.read(new Uint8Array(destination.buffer, destination.byteOffset, destination.byteLength), 2 * firstRow * rowLength, 2 * numRows * rowLength)
}
