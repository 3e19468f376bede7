import type { HeaderCursor } from './header-cursor.ts'

/** Numbers of a metadata array. Booleans are 0 and 1; 64-bit integers are doubles, all of them exact. */
export type GgufNumbers =
  | Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array

/** One metadata value. Text that is not UTF-8, as token bytes may be, has U+FFFD in its place. */
export type GgufValue = number | boolean | string | GgufNumbers | readonly string[]

const STRING = 8
const ARRAY = 9
const BOOL = 7

interface NumberType {
  readonly bytes: number
  take (cursor: HeaderCursor, what: string): number
  /** Undefined for 64-bit integers, which are taken one by one. */
  readonly array?: (buffer: ArrayBuffer) => GgufNumbers
}

/** By the number the file stores. @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
const NUMBER_TYPES: ReadonlyMap<number, NumberType> = new Map<number, NumberType>([
  [0, { bytes: 1, take: cursor => cursor.takeUint8(), array: buffer => new Uint8Array(buffer) }],
  [1, { bytes: 1, take: cursor => cursor.takeInt8(), array: buffer => new Int8Array(buffer) }],
  [2, { bytes: 2, take: cursor => cursor.takeUint16(), array: buffer => new Uint16Array(buffer) }],
  [3, { bytes: 2, take: cursor => cursor.takeInt16(), array: buffer => new Int16Array(buffer) }],
  [4, { bytes: 4, take: cursor => cursor.takeUint32(), array: buffer => new Uint32Array(buffer) }],
  [5, { bytes: 4, take: cursor => cursor.takeInt32(), array: buffer => new Int32Array(buffer) }],
  [6, { bytes: 4, take: cursor => cursor.takeFloat32(), array: buffer => new Float32Array(buffer) }],
  [BOOL, { bytes: 1, take: takeBool, array: buffer => new Uint8Array(buffer) }],
  [10, { bytes: 8, take: (cursor, what) => cursor.takeUint64(what) }],
  [11, { bytes: 8, take: (cursor, what) => cursor.takeInt64(what) }],
  [12, { bytes: 8, take: cursor => cursor.takeFloat64(), array: buffer => new Float64Array(buffer) }]
])

/** Reads a value and the type before it. @throws InvalidCheckpointError */
export async function readMetadataValue (cursor: HeaderCursor, key: string): Promise<GgufValue> {
  const what = `metadata ${JSON.stringify(key)}`
  await cursor.fill(4, what)
  const type = cursor.takeUint32()
  if (type === STRING) return readString(cursor, what)
  if (type === ARRAY) return readArray(cursor, what)
  const number = NUMBER_TYPES.get(type)
  if (number === undefined) return cursor.refuse(`${what} has the unknown type ${type}`, { position: cursor.position - 4 })
  await cursor.fill(number.bytes, what)
  const value = number.take(cursor, what)
  return type === BOOL ? value === 1 : value
}

async function readArray (cursor: HeaderCursor, what: string): Promise<GgufValue> {
  await cursor.fill(12, what)
  const type = cursor.takeUint32()
  const length = cursor.takeUint64(`the length of ${what}`)
  if (type === STRING) return readStrings(cursor, length, what)
  const number = NUMBER_TYPES.get(type)
  if (number === undefined) {
    return cursor.refuse(`${what} is an array of ${type === ARRAY ? 'arrays' : `the unknown type ${type}`}`, { position: cursor.position - 12 })
  }
  if (length > cursor.numRemaining / number.bytes) cursor.refuse(`${what} has ${length} values; the file ends after ${cursor.numRemaining} bytes`)
  if (number.array === undefined) {
    const values = new Float64Array(length)
    for (let i = 0; i < length; i++) {
      if (!cursor.holds(number.bytes)) await cursor.fill(number.bytes, what)
      values[i] = number.take(cursor, what)
    }
    return values
  }
  const buffer = new ArrayBuffer(length * number.bytes)
  await cursor.readInto(new Uint8Array(buffer), what)
  const values = number.array(buffer)
  if (type === BOOL && values.some(value => value > 1)) cursor.refuse(`${what} holds a boolean that is neither 0 nor 1`)
  return values
}

async function readString (cursor: HeaderCursor, what: string): Promise<string> {
  await cursor.fill(8, what)
  const length = cursor.takeUint64(`the length of ${what}`)
  await cursor.fill(length, what)
  return cursor.takeText(length)
}

/** A vocabulary has hundreds of thousands: they are waited for only where the buffer ends. */
async function readStrings (cursor: HeaderCursor, count: number, what: string): Promise<readonly string[]> {
  if (count > cursor.numRemaining / 8) cursor.refuse(`${what} has ${count} strings; the file ends after ${cursor.numRemaining} bytes`)
  const strings: string[] = []
  for (let i = 0; i < count; i++) {
    if (!cursor.holds(8)) await cursor.fill(8, what)
    const length = cursor.takeUint64(`the length of string ${i} of ${what}`)
    if (!cursor.holds(length)) await cursor.fill(length, `string ${i} of ${what}`)
    strings.push(cursor.takeText(length))
  }
  return Object.freeze(strings)
}

function takeBool (cursor: HeaderCursor, what: string): number {
  const value = cursor.takeUint8()
  return value <= 1 ? value : cursor.refuse(`${what} is ${value}, which is no boolean`, { position: cursor.position - 1 })
}
