import { InvalidCheckpointError } from '../errors.ts'
import { readJsonFile } from './read-json-file.ts'

export const INDEX_FILE = 'model.safetensors.index.json'

/** The files of a checkpoint, and which of them holds each tensor. */
export interface ShardIndex {
  /** File names in the model directory, each once. */
  readonly shards: readonly string[]
  /** Undefined for a single file, which needs no index. */
  readonly shardOf: ReadonlyMap<string, string> | undefined
}

// The largest published indices have a few megabytes and a few hundred shards; every shard is an open file.
const MAX_INDEX_BYTES = 64 << 20
const MAX_SHARDS = 1_000

/**
 * Reads `model.safetensors.index.json`.
 * @throws InvalidCheckpointError when it is damaged, or names anything but files of its own directory
 */
export async function readShardIndex (path: string): Promise<ShardIndex> {
  const index = await readJsonFile(path, MAX_INDEX_BYTES)
  const weightMap = typeof index === 'object' && index !== null && 'weight_map' in index ? index.weight_map : undefined
  if (typeof weightMap !== 'object' || weightMap === null || Array.isArray(weightMap)) {
    throw new InvalidCheckpointError(path, 'has no weight_map from tensors to files')
  }
  const shardOf = new Map<string, string>()
  for (const [tensor, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !isPlainShardName(shard)) {
      throw new InvalidCheckpointError(path, `${JSON.stringify(shard)} is not the name of a .safetensors file in this directory`, { tensor })
    }
    shardOf.set(tensor, shard)
  }
  const shards = [...new Set(shardOf.values())].sort()
  if (shards.length === 0 || shards.length > MAX_SHARDS) {
    throw new InvalidCheckpointError(path, `names ${shards.length} files; 1 to ${MAX_SHARDS} are allowed`)
  }
  return { shards, shardOf }
}

/** No separators, no drive letters, no leading dot: the name cannot leave the directory. */
function isPlainShardName (name: string): boolean {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,250}$/.test(name) && name.endsWith('.safetensors')
}
