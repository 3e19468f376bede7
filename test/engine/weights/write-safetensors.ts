import type { StoredDtype } from '../../../packages/engine/src/weights/safetensors.ts'

export interface WrittenTensor {
  readonly dtype: StoredDtype
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/** A valid safetensors file with these tensors in this order; the header is padded with spaces to `headerMultiple` bytes. */
export function writeSafetensors (tensors: Readonly<Record<string, WrittenTensor>>, { metadata = {}, headerMultiple = 8 } = {}): Uint8Array {
  let end = 0
  const header: Record<string, unknown> = { __metadata__: metadata }
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end += bytes.byteLength] }
  }
  return assembleSafetensors(JSON.stringify(header), Object.values(tensors).map(({ bytes }) => bytes), headerMultiple)
}

/** A file with exactly this header text before the data, valid or not. */
export function assembleSafetensors (headerText: string, data: readonly Uint8Array[], headerMultiple = 1): Uint8Array {
  const text = Buffer.from(headerText)
  const header = Buffer.alloc(Math.ceil(text.length / headerMultiple) * headerMultiple, ' ')
  text.copy(header)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return new Uint8Array(Buffer.concat([length, header, ...data]))
}
