import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidCheckpointError } from '../errors.ts'
import { FileSource } from './byte-source.ts'
import { readSafetensorsHeader } from './safetensors.ts'
import type { StoredDtype, TensorEntry } from './safetensors.ts'
import { INDEX_FILE, readShardIndex } from './shard-index.ts'
import type { ShardIndex } from './shard-index.ts'

const SINGLE_FILE = 'model.safetensors'

/** One tensor of an open checkpoint. Its bytes stay in the file until asked for. */
export interface CheckpointTensor {
  readonly name: string
  readonly dtype: StoredDtype
  /** Row-major; `[]` is a scalar. */
  readonly shape: readonly number[]
  readonly byteLength: number
  /**
   * Fills the first `lengthBytes` of `into` with the tensor's bytes from `offsetBytes` on. Calls may overlap.
   * @throws RangeError when that leaves the tensor or `into`
   * @throws InvalidCheckpointError when the file has shrunk since it was opened
   */
  read (into: Uint8Array, offsetBytes: number, lengthBytes: number): Promise<void>
}

/** The weights of a model directory: one `model.safetensors`, or shards with an index. Disposing it closes the files. */
export class Checkpoint implements AsyncDisposable {
  readonly directory: string
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  readonly #files: readonly FileSource[]

  private constructor (directory: string, tensors: ReadonlyMap<string, CheckpointTensor>, files: readonly FileSource[]) {
    this.directory = directory
    this.tensors = tensors
    this.#files = files
  }

  /**
   * Opens every file and checks every header, and the index against them; reads no weights.
   * @throws InvalidCheckpointError
   */
  static async open (directory: string): Promise<Checkpoint> {
    const index = await findShards(directory)
    const files: FileSource[] = []
    try {
      const tensors = new Map<string, CheckpointTensor>()
      for (const shard of index.shards) {
        const file = await FileSource.open(join(directory, shard))
        files.push(file)
        const header = await readSafetensorsHeader(file)
        for (const entry of header.tensors.values()) {
          const owner = index.shardOf?.get(entry.name) ?? (index.shardOf === undefined ? shard : undefined)
          if (owner !== shard) {
            throw new InvalidCheckpointError(file.name, `the index puts it in ${owner === undefined ? 'no file' : owner}`, { tensor: entry.name })
          }
          tensors.set(entry.name, openTensor(entry, file))
        }
      }
      for (const [name, shard] of index.shardOf ?? []) {
        if (!tensors.has(name)) throw new InvalidCheckpointError(join(directory, shard), 'the index puts it here, and it is not', { tensor: name })
      }
      return new Checkpoint(directory, tensors, files)
    } catch (cause) {
      await closeAll(files)
      throw cause
    }
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await closeAll(this.#files)
  }
}

async function closeAll (files: readonly FileSource[]): Promise<void> {
  await Promise.all(files.map(file => file[Symbol.asyncDispose]()))
}

/** The single file goes first, as in transformers. */
async function findShards (directory: string): Promise<ShardIndex> {
  const has = (file: string): Promise<boolean> => access(join(directory, file)).then(() => true, () => false)
  if (await has(SINGLE_FILE)) return { shards: [SINGLE_FILE], shardOf: undefined }
  if (await has(INDEX_FILE)) return readShardIndex(join(directory, INDEX_FILE))
  const pickled = await has('pytorch_model.bin') || await has('pytorch_model.bin.index.json')
  throw new InvalidCheckpointError(directory, `has neither ${SINGLE_FILE} nor ${INDEX_FILE}` +
    (pickled ? '; pytorch_model.bin can carry code and is not read: convert it to safetensors' : ''))
}

function openTensor (entry: TensorEntry, file: FileSource): CheckpointTensor {
  const { name, dtype, shape, byteOffset, byteLength } = entry
  return {
    name,
    dtype,
    shape,
    byteLength,
    async read (into, offsetBytes, lengthBytes) {
      if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || !Number.isSafeInteger(lengthBytes) || lengthBytes < 0 ||
        offsetBytes + lengthBytes > byteLength || lengthBytes > into.byteLength) {
        throw new RangeError(`tensor ${name}: bytes ${offsetBytes} + ${lengthBytes} of ${byteLength} into ${into.byteLength}`)
      }
      await file.read(into.subarray(0, lengthBytes), byteOffset + offsetBytes)
    }
  }
}
