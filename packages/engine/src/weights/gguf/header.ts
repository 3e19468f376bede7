import type { ByteSource } from '../byte-source.ts'
import { HeaderCursor } from './header-cursor.ts'
import { readMetadataValue } from './metadata-value.ts'
import type { GgufValue } from './metadata-value.ts'
import { placeTensors, readTensorInfo } from './tensor-infos.ts'
import type { GgufTensorEntry, TensorInfo } from './tensor-infos.ts'

export interface GgufHeader {
  readonly version: 2 | 3
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: ReadonlyMap<string, GgufTensorEntry>
  /** Every tensor begins at a multiple of this from `dataOffset` on. */
  readonly alignment: number
  /** Of the first tensor, from the start of the file. */
  readonly dataOffset: number
}

const MAGIC = 'GGUF'
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const DEFAULT_ALIGNMENT = 32
// Several times the largest published: 128 experts of 94 layers in files that store each expert by itself.
const MAX_TENSORS = 262_144
const MAX_METADATA = 65_536
const MAX_KEY_BYTES = 65_535
/** The shortest metadata there is: a key of one letter, a type, one byte. */
const MIN_METADATA_BYTES = 14
/** The shortest description of a tensor: a name of one letter, no dimensions, type and offset. */
const MIN_TENSOR_BYTES = 25

/**
 * Reads and checks the header of a GGUF file: every count, length, shape and position is held against the file before anything
 * is allocated from it; keys and names are unique; every tensor has a type this package reads, lies inside the file where the
 * alignment allows, and overlaps no other. No weights are read.
 * @throws InvalidCheckpointError for anything else, version 1 and big-endian files among it
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
export async function readGgufHeader (source: ByteSource): Promise<GgufHeader> {
  const cursor = new HeaderCursor(source)
  const version = await readVersion(cursor)
  await cursor.fill(16, 'the number of tensors and metadata')
  const numTensors = readCount(cursor, 'tensors', MAX_TENSORS, MIN_TENSOR_BYTES)
  const numMetadata = readCount(cursor, 'metadata', MAX_METADATA, MIN_METADATA_BYTES)

  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < numMetadata; i++) {
    const key = await readName(cursor, `metadata key ${i}`)
    if (metadata.has(key)) cursor.refuse(`metadata ${JSON.stringify(key)} is there twice`)
    metadata.set(key, await readMetadataValue(cursor, key))
  }
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT
  if (typeof alignment !== 'number' || !isPowerOfTwo(alignment)) return cursor.refuse(`general.alignment is ${String(alignment)}; expected a power of 2`)

  const infos = new Map<string, TensorInfo>()
  for (let i = 0; i < numTensors; i++) {
    const name = await readName(cursor, `the name of tensor ${i}`)
    if (infos.has(name)) cursor.refuse('is there twice', { tensor: name })
    infos.set(name, await readTensorInfo(cursor, name))
  }
  const dataOffset = Math.ceil(cursor.position / alignment) * alignment
  const tensors = placeTensors([...infos.values()], { alignment, dataOffset, fileBytes: source.byteLength, refuse: (problem, at) => cursor.refuse(problem, at) })
  return { version, metadata, tensors, alignment, dataOffset }
}

async function readVersion (cursor: HeaderCursor): Promise<2 | 3> {
  await cursor.fill(8, 'the magic number and version')
  const magic = String.fromCharCode(...cursor.take(4))
  if (magic !== MAGIC) cursor.refuse(`begins with ${JSON.stringify(magic)}, not ${JSON.stringify(MAGIC)}: this is no GGUF file`, { position: 0 })
  const version = cursor.takeUint32()
  if (version === 2 || version === 3) return version
  if (version !== 0 && (version & 0xffff) === 0) cursor.refuse('is a big-endian GGUF file; only little-endian ones are read', { position: 4 })
  if (version === 1) cursor.refuse('is GGUF version 1, which is no longer in use: convert the model anew', { position: 4 })
  return cursor.refuse(`is GGUF version ${version}; 2 and 3 are supported`, { position: 4 })
}

function readCount (cursor: HeaderCursor, what: string, most: number, bytesEach: number): number {
  const count = cursor.takeUint64(`the number of ${what}`)
  if (count > most || count > cursor.numRemaining / bytesEach) {
    cursor.refuse(`${count} ${what} in a file that ends after ${cursor.numRemaining} bytes; at most ${most} are allowed`, { position: cursor.position - 8 })
  }
  return count
}

/** Names are matched against others, so that nothing is replaced in them. */
async function readName (cursor: HeaderCursor, what: string): Promise<string> {
  await cursor.fill(8, what)
  const length = cursor.takeUint64(`the length of ${what}`)
  if (length === 0 || length > MAX_KEY_BYTES) cursor.refuse(`${what} has ${length} bytes; expected 1 to ${MAX_KEY_BYTES}`, { position: cursor.position - 8 })
  await cursor.fill(length, what)
  try {
    return UTF8.decode(cursor.take(length))
  } catch {
    return cursor.refuse(`${what} is not UTF-8`, { position: cursor.position - length })
  }
}

function isPowerOfTwo (value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 2 ** 31 && Number.isInteger(Math.log2(value))
}
