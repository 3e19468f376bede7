/** A metadata value with the type it is stored in. */
export type WrittenValue =
  | { readonly type: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64', readonly value: number }
  | { readonly type: 'u64' | 'i64', readonly value: bigint }
  | { readonly type: 'bool', readonly value: boolean }
  | { readonly type: 'string', readonly value: string | Uint8Array }
  | { readonly type: 'array', readonly of: Exclude<WrittenValue['type'], 'array'>, readonly values: readonly WrittenValue[] }

export interface WrittenTensor {
  readonly name: string
  /** ggml's number of the type. */
  readonly type: number
  /** As the file has them: the length of a row first. */
  readonly dimensions: ReadonlyArray<number | bigint>
  readonly bytes: Uint8Array
  /** Into the data; after the tensor before it where left out. */
  readonly offset?: number | bigint
}

export interface WrittenGguf {
  readonly version?: number
  readonly metadata?: ReadonlyArray<readonly [string, WrittenValue]>
  readonly tensors?: readonly WrittenTensor[]
  readonly alignment?: number
}

const TYPE_NUMBERS = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10, i64: 11, f64: 12 } as const

export const u32 = (value: number): WrittenValue => ({ type: 'u32', value })
export const f32 = (value: number): WrittenValue => ({ type: 'f32', value })
export const bool = (value: boolean): WrittenValue => ({ type: 'bool', value })
export const text = (value: string | Uint8Array): WrittenValue => ({ type: 'string', value })
export const texts = (values: ReadonlyArray<string | Uint8Array>): WrittenValue => ({ type: 'array', of: 'string', values: values.map(text) })
export const numbers = (of: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64', values: readonly number[]): WrittenValue =>
  ({ type: 'array', of, values: values.map(value => ({ type: of, value })) })

/** Tensors said to lie farther are described, not written. */
const FARTHEST = 1 << 26

/** A GGUF file; of the versions only the number differs. `alignment` is written as metadata where given. */
export function writeGguf ({ version = 3, metadata = [], tensors = [], alignment }: WrittenGguf): Uint8Array {
  const entries: ReadonlyArray<readonly [string, WrittenValue]> = alignment === undefined ? metadata : [...metadata, ['general.alignment', u32(alignment)]]
  const align = alignment ?? 32
  const header: Uint8Array[] = [Buffer.from('GGUF'), scalar(u32(version)), count(tensors.length), count(entries.length)]
  for (const [key, value] of entries) header.push(string(key), scalar(u32(TYPE_NUMBERS[value.type])), scalar(value))
  let end = 0
  const placed: Array<{ readonly place: number, readonly bytes: Uint8Array }> = []
  for (const { name, type, dimensions, bytes, offset } of tensors) {
    const place = offset ?? Math.ceil(end / align) * align
    header.push(string(name), scalar(u32(dimensions.length)), ...dimensions.map(count), scalar(u32(type)), count(place))
    if (place >= FARTHEST) continue
    placed.push({ place: Number(place), bytes })
    end = Math.max(end, Number(place) + bytes.byteLength)
  }
  const start = Math.ceil(byteLength(header) / align) * align
  const file = new Uint8Array(start + end)
  file.set(Buffer.concat(header))
  for (const { place, bytes } of placed) file.set(bytes, start + place)
  return file
}

function byteLength (parts: readonly Uint8Array[]): number {
  return parts.reduce((total, part) => total + part.byteLength, 0)
}

function string (value: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(value)
  return Buffer.concat([count(bytes.byteLength), bytes])
}

function count (value: number | bigint): Uint8Array {
  return scalar({ type: 'u64', value: BigInt(value) })
}

function scalar (written: WrittenValue): Uint8Array {
  const bytes = Buffer.alloc(8)
  switch (written.type) {
    case 'u8': bytes.writeUInt8(written.value); return bytes.subarray(0, 1)
    case 'i8': bytes.writeInt8(written.value); return bytes.subarray(0, 1)
    case 'u16': bytes.writeUInt16LE(written.value); return bytes.subarray(0, 2)
    case 'i16': bytes.writeInt16LE(written.value); return bytes.subarray(0, 2)
    case 'u32': bytes.writeUInt32LE(written.value); return bytes.subarray(0, 4)
    case 'i32': bytes.writeInt32LE(written.value); return bytes.subarray(0, 4)
    case 'f32': bytes.writeFloatLE(written.value); return bytes.subarray(0, 4)
    case 'f64': bytes.writeDoubleLE(written.value); return bytes
    case 'u64': bytes.writeBigUInt64LE(written.value); return bytes
    case 'i64': bytes.writeBigInt64LE(written.value); return bytes
    case 'bool': return Buffer.from([written.value ? 1 : 0])
    case 'string': return string(written.value)
    case 'array': return Buffer.concat([scalar(u32(TYPE_NUMBERS[written.of])), count(written.values.length), ...written.values.map(scalar)])
  }
}
