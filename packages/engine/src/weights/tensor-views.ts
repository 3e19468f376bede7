import type { StoredValues } from './convert.ts'
import { checkRows, rowsOf } from './weight-tensor.ts'
import type { WeightTensor } from './weight-tensor.ts'

/** What a view keeps of its tensor; how rows are read is the view's own. */
function seenThrough ({ format, shape, byteLength, name }: WeightTensor): Omit<WeightTensor, 'readRowsInto' | 'readBF16'> {
  return { name, format, shape, byteLength }
}

/** The same values under another name and shape; both shapes have as many rows' worth of values per first dimension as asked. */
export function reshaped (tensor: WeightTensor, name: string, shape: readonly number[]): WeightTensor {
  const own = rowsOf(tensor)
  const view = rowsOf({ shape })
  if (own.numRows * own.rowLength !== view.numRows * view.rowLength || own.rowLength % view.rowLength !== 0) {
    throw new RangeError(`tensor ${tensor.name}: [${tensor.shape.join(', ')}] cannot be read as [${shape.join(', ')}]`)
  }
  const viewRowsPerRow = own.rowLength / view.rowLength
  const result: WeightTensor = {
    ...seenThrough(tensor),
    name,
    shape,
    async readRowsInto (firstRow, numRows, destination) {
      checkRows(result, firstRow, numRows, destination.length)
      if (firstRow % viewRowsPerRow !== 0 || numRows % viewRowsPerRow !== 0) {
        // Part of a stored row: read the rows around it and keep the part.
        const from = Math.floor(firstRow / viewRowsPerRow)
        const to = Math.ceil((firstRow + numRows) / viewRowsPerRow)
        const around = sameKind(destination, (to - from) * own.rowLength)
        await tensor.readRowsInto(from, to - from, around)
        const start = (firstRow - from * viewRowsPerRow) * view.rowLength
        destination.set(around.subarray(start, start + numRows * view.rowLength))
        return
      }
      await tensor.readRowsInto(firstRow / viewRowsPerRow, numRows / viewRowsPerRow, destination)
    }
  }
  return result
}

/** Rows `first` to `first + count` as a tensor of their own: a projection out of fused ones, an expert out of a stack. */
export function rowSlice (tensor: WeightTensor, name: string, first: number, count: number): WeightTensor {
  const { numRows } = rowsOf(tensor)
  if (first < 0 || count < 0 || first + count > numRows) throw new RangeError(`tensor ${tensor.name}: rows ${first} + ${count} of ${numRows}`)
  const { readBF16 } = tensor
  const result: WeightTensor = {
    ...seenThrough(tensor),
    name,
    shape: [count, ...tensor.shape.slice(1)],
    byteLength: numRows === 0 ? 0 : tensor.byteLength * count / numRows,
    async readRowsInto (firstRow, numRows, destination) {
      checkRows(result, firstRow, numRows, destination.length)
      await tensor.readRowsInto(first + firstRow, numRows, destination)
    },
    ...readBF16 === undefined
      ? {}
      : {
          async readBF16 (firstRow, numRows, destination) {
            checkRows(result, firstRow, numRows, destination.length)
            await readBF16(first + firstRow, numRows, destination)
          }
        }
  }
  return result
}

/**
 * Rows in another order: row r of the view is row `source(r)` of the tensor. The order must keep every run of `block` rows (from a
 * multiple of it on) within the same run: reads are then whole runs, never row by row.
 */
export function permutedRows (tensor: WeightTensor, block: number, source: (row: number) => number): WeightTensor {
  const { numRows, rowLength } = rowsOf(tensor)
  if (numRows % block !== 0) throw new RangeError(`tensor ${tensor.name}: ${numRows} rows are no multiple of ${block}`)
  const result: WeightTensor = {
    ...seenThrough(tensor),
    async readRowsInto (firstRow, numRows, destination) {
      checkRows(result, firstRow, numRows, destination.length)
      const from = Math.floor(firstRow / block) * block
      const to = Math.ceil((firstRow + numRows) / block) * block
      const around = sameKind(destination, (to - from) * rowLength)
      await tensor.readRowsInto(from, to - from, around)
      for (let r = 0; r < numRows; r++) {
        const at = (source(firstRow + r) - from) * rowLength
        destination.set(around.subarray(at, at + rowLength), r * rowLength)
      }
    }
  }
  return result
}

function sameKind (destination: StoredValues, length: number): StoredValues {
  return destination instanceof Uint16Array ? new Uint16Array(length) : new Float32Array(length)
}
