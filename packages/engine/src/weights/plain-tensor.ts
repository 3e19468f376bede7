import type { CheckpointTensor } from './checkpoint.ts'
import { RowReader } from './row-reader.ts'
import type { WeightTensor } from './weight-tensor.ts'

/** A safetensors tensor as rows of values; tensors of one file share a reader, and so its buffers. */
export function plainTensor (tensor: CheckpointTensor, reader: RowReader = new RowReader()): WeightTensor {
  return {
    name: tensor.name,
    format: tensor.dtype,
    shape: tensor.shape,
    byteLength: tensor.byteLength,
    readRowsInto: (firstRow, numRows, destination) => reader.readRowsInto(tensor, firstRow, numRows, destination)
  }
}
