import { InvalidCheckpointError } from '../errors.ts'
import type { ByteSource } from './byte-source.ts'
import { duplicateKey } from './duplicate-key.ts'

/** Storage types of plain weights: what can be read as f16 or f32 without anything beside it. */
export type CheckpointDtype = 'F32' | 'F16' | 'BF16'

/** All storage types that are read. The integers carry quantised weights: codes, packed words, group numbers, shapes. */
export type StoredDtype = CheckpointDtype | 'I8' | 'U8' | 'I32' | 'I64'

export const BYTES_PER_VALUE: Readonly<Record<StoredDtype, number>> = Object.freeze({ F32: 4, F16: 2, BF16: 2, I8: 1, U8: 1, I32: 4, I64: 8 })

/** Whether values of this type are weights by themselves. */
export function isPlainDtype (dtype: StoredDtype): dtype is CheckpointDtype {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16'
}

/** Where one tensor lies in its file. */
export interface TensorEntry {
  readonly name: string
  readonly dtype: StoredDtype
  /** Row-major; `[]` is a scalar. */
  readonly shape: readonly number[]
  /** From the start of the file; not aligned to anything. */
  readonly byteOffset: number
  /** Product of the shape times the size of one value. */
  readonly byteLength: number
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: ReadonlyMap<string, string>
}

// The format's own limit on its JSON header.
const MAX_HEADER_BYTES = 100_000_000
const LENGTH_BYTES = 8
const MAX_RANK = 8

/**
 * Reads and checks the header of a safetensors file: every tensor lies inside the file, the tensors cover its data without gap
 * or overlap, and each has exactly the bytes its shape and dtype ask for. Nothing else of the file is read.
 * @throws InvalidCheckpointError for anything else
 * @see https://github.com/huggingface/safetensors — format: u64 header length (little-endian), JSON header, data
 */
export async function readSafetensorsHeader (source: ByteSource): Promise<SafetensorsHeader> {
  const refuse = (problem: string, at?: { readonly tensor?: string, readonly cause?: unknown }): never => {
    throw new InvalidCheckpointError(source.name, problem, at)
  }
  if (source.byteLength < LENGTH_BYTES) refuse(`has ${source.byteLength} bytes, too few for a safetensors header`)
  const lengthBytes = new Uint8Array(LENGTH_BYTES)
  await source.read(lengthBytes, 0)
  const headerBytes = new DataView(lengthBytes.buffer).getBigUint64(0, true)
  if (headerBytes > BigInt(MAX_HEADER_BYTES)) refuse(`header of ${headerBytes} bytes; at most ${MAX_HEADER_BYTES} are allowed`)
  const dataOffset = LENGTH_BYTES + Number(headerBytes)
  if (dataOffset > source.byteLength) refuse(`header of ${headerBytes} bytes in a file of ${source.byteLength}`)
  const header = new Uint8Array(Number(headerBytes))
  await source.read(header, LENGTH_BYTES)

  const metadata = new Map<string, string>()
  const tensors = new Map<string, TensorEntry>()
  const dataBytes = source.byteLength - dataOffset
  for (const [name, value] of Object.entries(parseHeader(header, refuse))) {
    if (name === '__metadata__') {
      for (const [key, text] of Object.entries(asObject(value, refuse))) {
        if (typeof text !== 'string') refuse(`metadata ${JSON.stringify(key)} is not text`)
        else metadata.set(key, text)
      }
    } else {
      tensors.set(name, readEntry(name, value, dataOffset, dataBytes, problem => refuse(problem, { tensor: name })))
    }
  }
  checkCoverage([...tensors.values()], dataOffset, source.byteLength, refuse)
  return { tensors, metadata }
}

function parseHeader (bytes: Uint8Array, refuse: (problem: string, at?: { cause: unknown }) => never): object {
  if (bytes[0] !== 0x7b) refuse('its header does not begin with "{": this is no safetensors file')
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const header: unknown = JSON.parse(text)
    const repeated = duplicateKey(text)
    if (repeated !== undefined) refuse(`its header names ${JSON.stringify(repeated)} twice`)
    return asObject(header, refuse)
  } catch (cause) {
    if (cause instanceof InvalidCheckpointError) throw cause
    return refuse('its header is not JSON', { cause })
  }
}

function readEntry (name: string, value: unknown, dataOffset: number, dataBytes: number, refuse: (problem: string) => never): TensorEntry {
  const { dtype, shape, data_offsets: offsets }: { dtype?: unknown, shape?: unknown, data_offsets?: unknown } = asObject(value, refuse)
  if (!isStoredDtype(dtype)) return refuse(`dtype ${shown(dtype)} is not supported; ${Object.keys(BYTES_PER_VALUE).join(', ')} are`)
  if (!isListOfCounts(shape) || shape.length > MAX_RANK) return refuse(`shape ${shown(shape)} is not a list of at most ${MAX_RANK} sizes`)
  if (!isListOfCounts(offsets) || offsets.length !== 2) return refuse(`data_offsets ${shown(offsets)} are not two byte positions`)
  const [begin = 0, end = 0] = offsets
  if (begin > end || end > dataBytes) return refuse(`bytes ${begin} to ${end} are not within the file's ${dataBytes} bytes of data`)
  const byteLength = checkedProduct([...shape, BYTES_PER_VALUE[dtype]])
  if (byteLength === undefined) return refuse(`shape ${JSON.stringify(shape)} has too many values to count`)
  if (byteLength !== end - begin) return refuse(`shape ${JSON.stringify(shape)} of ${dtype} takes ${byteLength} bytes; the file gives it ${end - begin}`)
  return Object.freeze({ name, dtype, shape: Object.freeze(shape), byteOffset: dataOffset + begin, byteLength })
}

function checkCoverage (tensors: TensorEntry[], dataOffset: number, fileBytes: number, refuse: (problem: string, at?: { tensor: string }) => never): void {
  tensors.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength)
  let covered = dataOffset
  for (const { name, byteOffset, byteLength } of tensors) {
    if (byteOffset < covered) refuse(`overlaps the tensor before it by ${covered - byteOffset} bytes`, { tensor: name })
    if (byteOffset > covered) refuse(`leaves ${byteOffset - covered} bytes before it to no tensor`, { tensor: name })
    covered = byteOffset + byteLength
  }
  if (covered !== fileBytes) refuse(`its last ${fileBytes - covered} bytes belong to no tensor`)
}

function isStoredDtype (value: unknown): value is StoredDtype {
  return typeof value === 'string' && Object.hasOwn(BYTES_PER_VALUE, value)
}

function isListOfCounts (value: unknown): value is number[] {
  return Array.isArray(value) && value.every(count => Number.isSafeInteger(count) && count >= 0)
}

/** Undefined when the product of the sizes that are not 0 leaves the integers a double counts exactly. */
function checkedProduct (sizes: readonly number[]): number | undefined {
  const product = sizes.reduce((total, size) => total * (size === 0 ? 1 : size), 1)
  if (product > Number.MAX_SAFE_INTEGER) return undefined
  return sizes.includes(0) ? 0 : product
}

function asObject (value: unknown, refuse: (problem: string) => never): object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : refuse('its entry in the header is not an object')
}

/** What a header holds, for a message: cut short, and without the stack that printing a thousand nested lists takes. */
function shown (value: unknown): string {
  try {
    const text = JSON.stringify(value) ?? String(value)
    return text.length <= 120 ? text : `${text.slice(0, 117)}...`
  } catch {
    return '(nested too deeply to print)'
  }
}
