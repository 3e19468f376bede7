import { GGML_TYPES, UNREADABLE_GGML_TYPES } from './ggml-types.ts'
import type { GgmlType, GgmlTypeName } from './ggml-types.ts'
import type { HeaderCursor } from './header-cursor.ts'

/** Where one tensor lies in its file. */
export interface GgufTensorEntry {
  readonly name: string
  readonly type: GgmlTypeName
  /** Row-major, the reverse of the file's order: the last one is a row of whole blocks. `[]` is a scalar. */
  readonly shape: readonly number[]
  /** From the start of the file. */
  readonly byteOffset: number
  readonly byteLength: number
}

/** What a header says of a tensor, before its place in the file is known. */
export interface TensorInfo {
  readonly name: string
  readonly type: GgmlType
  readonly shape: readonly number[]
  readonly byteLength: number
  /** From the start of the data. */
  readonly offset: number
  /** Of the description, for errors. */
  readonly position: number
}

/** What tensors are placed in. */
export interface DataSection {
  readonly alignment: number
  readonly dataOffset: number
  readonly fileBytes: number
  readonly refuse: (problem: string, at: { readonly position: number, readonly tensor: string }) => never
}

const MAX_RANK = 4

/** Reads what follows a tensor's name. @throws InvalidCheckpointError */
export async function readTensorInfo (cursor: HeaderCursor, name: string): Promise<TensorInfo> {
  const position = cursor.position
  const refuse = (problem: string): never => cursor.refuse(problem, { position, tensor: name })
  await cursor.fill(4, `the rank of ${JSON.stringify(name)}`)
  const rank = cursor.takeUint32()
  if (rank > MAX_RANK) refuse(`has ${rank} dimensions; at most ${MAX_RANK} are allowed`)
  await cursor.fill(8 * rank + 12, `the description of ${JSON.stringify(name)}`)
  const shape = Array.from({ length: rank }, (_, i) => cursor.takeUint64(`dimension ${i} of ${JSON.stringify(name)}`)).reverse()
  const type = readType(cursor.takeUint32(), refuse)
  const offset = cursor.takeUint64(`the offset of ${JSON.stringify(name)}`)
  return { name, type, shape: Object.freeze(shape), byteLength: bytesOf(shape, type, refuse), offset, position }
}

/** Gives every tensor its place and checks that the file holds it, aligned and by itself. @throws InvalidCheckpointError */
export function placeTensors (infos: readonly TensorInfo[], section: DataSection): ReadonlyMap<string, GgufTensorEntry> {
  const { alignment, dataOffset, fileBytes, refuse } = section
  const tensors = new Map<string, GgufTensorEntry>()
  for (const { name, type, shape, byteLength, offset, position } of infos) {
    if (offset % alignment !== 0) refuse(`begins ${offset} bytes into the data, which is no multiple of ${alignment}`, { position, tensor: name })
    const available = fileBytes - dataOffset
    if (byteLength > available || offset > available - byteLength) {
      refuse(`bytes ${offset} to ${offset} + ${byteLength} are not within the file's ${Math.max(available, 0)} bytes of data`, { position, tensor: name })
    }
    tensors.set(name, Object.freeze({ name, type: type.name, shape, byteOffset: dataOffset + offset, byteLength }))
  }
  let end = 0
  for (const { name, offset, byteLength, position } of infos.filter(info => info.byteLength > 0).sort((a, b) => a.offset - b.offset)) {
    if (offset < end) refuse(`overlaps the tensor before it by ${end - offset} bytes`, { position, tensor: name })
    end = offset + byteLength
  }
  return tensors
}

function readType (number: number, refuse: (problem: string) => never): GgmlType {
  const type = GGML_TYPES.get(number)
  if (type !== undefined) return type
  const name = UNREADABLE_GGML_TYPES.get(number)
  return refuse(`type ${name ?? number} is not supported; supported: ${[...GGML_TYPES.values()].map(({ name }) => name).join(', ')}`)
}

function bytesOf (shape: readonly number[], { name, valuesPerBlock, bytesPerBlock }: GgmlType, refuse: (problem: string) => never): number {
  const rowLength = shape.at(-1) ?? 1
  if (rowLength % valuesPerBlock !== 0) refuse(`rows of ${rowLength} values are no whole blocks of ${name}, which hold ${valuesPerBlock}`)
  // Sizes of 0 are left out: whatever the others are, they must stay countable.
  const numValues = shape.reduce((total, size) => total * (size === 0 ? 1 : size), 1)
  const byteLength = numValues / valuesPerBlock * bytesPerBlock
  if (numValues > Number.MAX_SAFE_INTEGER || byteLength > Number.MAX_SAFE_INTEGER) refuse(`shape [${shape.join(', ')}] has too many values to count`)
  return shape.includes(0) ? 0 : byteLength
}
