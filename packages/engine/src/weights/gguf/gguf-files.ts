import { basename, dirname, join } from 'node:path'
import { InvalidCheckpointError } from '../../errors.ts'
import { FileSource } from '../byte-source.ts'
import { readGgufHeader } from './header.ts'
import type { GgufHeader } from './header.ts'

/** One open file of a model. */
export interface GgufFile { readonly source: FileSource, readonly header: GgufHeader }

// Every part is an open file.
const MAX_PARTS = 1_000

/**
 * Opens a GGUF file or, where it is a part of several (`…-00001-of-00003.gguf`), all of them from its directory, in order.
 * The caller closes them.
 * @throws InvalidCheckpointError when one is missing or damaged, or they do not belong together
 */
export async function openGgufFiles (path: string): Promise<readonly GgufFile[]> {
  const files: GgufFile[] = []
  try {
    files.push(await openFile(path))
    const count = splitNumber(path, files[0], 'split.count') ?? 1
    if (count <= 1) return files
    const names = partNames(path, count)
    await closeGgufFiles(files.splice(0))
    for (const name of names) files.push(await openFile(name))
    checkParts(files, count)
    return files
  } catch (cause) {
    await closeGgufFiles(files)
    throw cause
  }
}

export async function closeGgufFiles (files: readonly GgufFile[]): Promise<void> {
  await Promise.all(files.map(({ source }) => source[Symbol.asyncDispose]()))
}

async function openFile (path: string): Promise<GgufFile> {
  const source = await FileSource.open(path)
  try {
    return { source, header: await readGgufHeader(source) }
  } catch (cause) {
    await source[Symbol.asyncDispose]()
    throw cause
  }
}

function partNames (path: string, count: number): readonly string[] {
  const [, stem, total] = /^(.*)-\d{5}-of-(\d{5})\.gguf$/.exec(basename(path)) ?? []
  if (stem === undefined || Number(total) !== count) {
    throw new InvalidCheckpointError(path, `is one of ${count} parts; name them …-00001-of-${String(count).padStart(5, '0')}.gguf and so on, in one directory`)
  }
  return Array.from({ length: count }, (_, i) => join(dirname(path), `${stem}-${String(i + 1).padStart(5, '0')}-of-${total}.gguf`))
}

function checkParts (files: readonly GgufFile[], count: number): void {
  const owners = new Map<string, string>()
  for (const [index, file] of files.entries()) {
    const { name } = file.source
    const [number, total] = [splitNumber(name, file, 'split.no'), splitNumber(name, file, 'split.count')]
    if (number !== index || total !== count) throw new InvalidCheckpointError(name, `is part ${number} of ${total}, counted from 0; expected ${index} of ${count}`)
    for (const tensor of file.header.tensors.keys()) {
      const owner = owners.get(tensor)
      if (owner !== undefined) throw new InvalidCheckpointError(name, `is in ${basename(owner)} as well`, { tensor })
      owners.set(tensor, name)
    }
  }
  const first = files[0]?.source.name ?? ''
  const numTensors = splitNumber(first, files[0], 'split.tensors.count') ?? owners.size
  if (numTensors !== owners.size) throw new InvalidCheckpointError(first, `its parts hold ${owners.size} tensors; split.tensors.count is ${numTensors}`)
}

function splitNumber (name: string, file: GgufFile | undefined, key: string): number | undefined {
  const value = file?.header.metadata.get(key)
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new InvalidCheckpointError(name, `metadata ${JSON.stringify(key)} is no count`)
  if (key === 'split.count' && value > MAX_PARTS) throw new InvalidCheckpointError(name, `is one of ${value} parts; at most ${MAX_PARTS} are allowed`)
  return value
}
