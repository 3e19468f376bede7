import type { ByteSource } from '../../../packages/engine/src/weights/byte-source.ts'

/** Bytes in memory that count the reads which would have left a file. */
export function memorySource (bytes: Uint8Array): ByteSource & { readonly outOfRange: number } {
  let outOfRange = 0
  return {
    name: 'memory.safetensors',
    byteLength: bytes.byteLength,
    get outOfRange () { return outOfRange },
    async read (into, position) {
      if (!(position >= 0) || position + into.byteLength > bytes.byteLength) outOfRange++
      into.set(bytes.subarray(position, position + into.byteLength))
    }
  }
}
