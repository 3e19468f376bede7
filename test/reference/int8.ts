import type { RealArray } from './real-array.ts'

export interface QuantizedRows {
  /** `[numRows, size]`, the values as bytes. */
  readonly q: Int8Array
  /** Of each row; 0 where all of it is 0. */
  readonly scale: Float64Array
}

/** q = round(x / scale), scale = max |x| / 127 of each row. */
export function quantizeRows (x: RealArray, size: number): QuantizedRows {
  const q = new Int8Array(x.length)
  const scale = new Float64Array(x.length / size)
  for (let row = 0; row < scale.length; row++) {
    let largest = 0
    for (let i = 0; i < size; i++) largest = Math.max(largest, Math.abs(x[row * size + i] ?? NaN))
    const own = largest / 127
    scale[row] = own
    for (let i = 0; i < size; i++) q[row * size + i] = own === 0 ? 0 : Math.round((x[row * size + i] ?? NaN) / own)
  }
  return { q, scale }
}

/** Sums of x · Wᵀ: x `[numRows, size]`, W `[numColumns, size]`, exact, `[numRows, numColumns]`. */
export function int8Sums (x: Int8Array, weight: Int8Array, size: number): Float64Array {
  const [numRows, numColumns] = [x.length / size, weight.length / size]
  const sums = new Float64Array(numRows * numColumns)
  for (let row = 0; row < numRows; row++) {
    for (let column = 0; column < numColumns; column++) {
      let sum = 0
      for (let i = 0; i < size; i++) sum += (x[row * size + i] ?? NaN) * (weight[column * size + i] ?? NaN)
      sums[row * numColumns + column] = sum
    }
  }
  return sums
}
