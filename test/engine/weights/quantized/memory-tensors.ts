import type { CheckpointTensor } from '../../../../packages/engine/src/weights/checkpoint.ts'
import type { StoredDtype } from '../../../../packages/engine/src/weights/safetensors.ts'
import { halfValue, nearestHalf } from '../half-reference.ts'

export interface MemoryTensor extends CheckpointTensor {
  /** Bytes read so far. */
  readonly bytesRead: number
}

/** A tensor whose bytes are those of `values`. */
export function memoryTensor (name: string, dtype: StoredDtype, shape: readonly number[], values: ArrayBufferView): MemoryTensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  let bytesRead = 0
  return {
    name,
    dtype,
    shape,
    byteLength: bytes.byteLength,
    get bytesRead () { return bytesRead },
    async read (into, offsetBytes, lengthBytes) {
      if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > bytes.byteLength || lengthBytes > into.byteLength) {
        throw new RangeError(`bytes ${offsetBytes} + ${lengthBytes} of ${bytes.byteLength} into ${into.byteLength}`)
      }
      bytesRead += lengthBytes
      into.set(bytes.subarray(offsetBytes, offsetBytes + lengthBytes))
    }
  }
}

export function byName (...tensors: readonly MemoryTensor[]): Map<string, MemoryTensor> {
  return new Map(tensors.map(tensor => [tensor.name, tensor]))
}

/** Random scales: bit patterns of f16 or bf16, or f32 floats, of either sign, a few of them 0, and their values. */
export function randomScales (dtype: 'F16' | 'BF16' | 'F32', count: number, below: (limit: number) => number): { stored: Uint16Array | Float32Array, values: number[] } {
  const values: number[] = []
  const stored = dtype === 'F32' ? new Float32Array(count) : new Uint16Array(count)
  for (let i = 0; i < count; i++) {
    const sign = below(8) === 0 ? 1 : 0
    if (dtype === 'F32') {
      stored[i] = (sign === 1 ? -1 : 1) * below(1 << 24) / 2 ** 28
      values.push(stored[i] ?? 0)
    } else if (dtype === 'F16') {
      const bits = below(16) === 0 ? 0 : sign << 15 | 0x0100 + below(0x2d00)
      stored[i] = bits
      values.push(halfValue(bits))
    } else {
      const exponent = 90 + below(40)
      const fraction = below(128)
      stored[i] = sign << 15 | exponent << 7 | fraction
      values.push((sign === 1 ? -1 : 1) * (1 + fraction / 128) * 2 ** (exponent - 127))
    }
  }
  return { stored, values }
}

/** The f32 and f16 values of a product, by their definitions. */
export const asFloat = (value: number): number => Math.fround(value)
export const asHalf = (value: number): number => nearestHalf(Math.fround(value))
