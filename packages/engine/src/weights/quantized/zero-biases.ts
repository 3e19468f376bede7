import { InvalidCheckpointError } from '../../errors.ts'
import type { CheckpointTensor } from '../checkpoint.ts'
import { plainTensor } from '../plain-tensor.ts'
import { RowReader } from '../row-reader.ts'
import { rowsOf } from '../weight-tensor.ts'

const ROWS_AT_ONCE = 1 << 16

/**
 * A checkpoint without the biases that AutoGPTQ gave every projection it quantised: zeros where the model has none. They are read,
 * since any other value would be part of the computation.
 * @param needed names of the tensors that the model's configuration asks for
 * @param file the directory or file, for errors
 * @throws InvalidCheckpointError for a bias that is neither needed nor zero (rejects)
 * @see https://github.com/AutoGPTQ/AutoGPTQ/issues/601
 */
export async function withoutZeroBiases (raw: ReadonlyMap<string, CheckpointTensor>, needed: ReadonlySet<string>, file: string): Promise<ReadonlyMap<string, CheckpointTensor>> {
  const kept = new Map(raw)
  const reader = new RowReader()
  for (const [name, tensor] of raw) {
    const [, module] = /^(.+)\.bias$/.exec(name) ?? []
    if (module === undefined || needed.has(name) || !raw.has(`${module}.qweight`)) continue
    if (!await isZero(tensor, reader)) {
      throw new InvalidCheckpointError(file, 'holds values that are not zero, and the model\'s configuration gives this projection no bias', { tensor: name })
    }
    kept.delete(name)
  }
  return kept
}

async function isZero (tensor: CheckpointTensor, reader: RowReader): Promise<boolean> {
  const { numRows, rowLength } = rowsOf(tensor)
  const weight = plainTensor(tensor, reader)
  const values = new Float32Array(Math.min(numRows, ROWS_AT_ONCE) * rowLength)
  for (let row = 0; row < numRows; row += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, numRows - row)
    await weight.readRowsInto(row, count, values)
    if (values.subarray(0, count * rowLength).some(value => value !== 0)) return false
  }
  return true
}
