import { WeightRangeError } from '../../errors.ts'
import { converter } from '../convert.ts'
import { checkRows, rowsOf } from '../weight-tensor.ts'
import type { WeightTensor } from '../weight-tensor.ts'

const narrow = converter('F32', 'f16')

/** Every value plus `shift`, in float arithmetic. Reads are held in memory as floats: for norms, not for matrices. */
export function shiftedValues (tensor: WeightTensor, shift: number): WeightTensor {
  return {
    ...tensor,
    async readRowsInto (firstRow, numRows, destination) {
      checkRows(tensor, firstRow, numRows, destination.length)
      const count = numRows * rowsOf(tensor).rowLength
      const values = destination instanceof Float32Array ? destination : new Float32Array(count)
      await tensor.readRowsInto(firstRow, numRows, values)
      for (let i = 0; i < count; i++) values[i] = (values[i] ?? 0) + shift
      if (destination instanceof Float32Array) return
      const numOverflowed = narrow(new Uint8Array(values.buffer), count, destination, 0)
      if (numOverflowed > 0) throw new WeightRangeError({ tensor: tensor.name, from: tensor.format, to: 'f16', numOverflowed, numValues: count })
    }
  }
}
