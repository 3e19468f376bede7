import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { FileSource, readGgufHeader } from '@daybreak/engine/gguf'
import { prepareGgufTextFolder } from '../text/index.ts'
import { modelCacheFolder } from './cache/model-cache-folder.ts'
import type { ModelSource } from './model-source.ts'

/** Raise it when what is written from a vocabulary changes: folders of an older form are then left alone. */
const FORM = 1

/**
 * A folder with the model's tokenizer and chat template as Hugging Face lays them out: a directory's own, or for a GGUF file one in
 * the cache, written from its metadata. Reading 150,000 tokens takes about a second, which every start pays, so that a file that
 * was replaced is never met with another's vocabulary.
 * @throws InvalidCheckpointError, ModelFileError (rejects)
 */
export async function textFolder (source: ModelSource, env: Readonly<Record<string, string | undefined>>): Promise<string> {
  if (source.type === 'directory') return source.path
  await using file = await FileSource.open(source.path)
  const { metadata } = await readGgufHeader(file)
  const { size, mtimeMs } = await stat(source.path)
  const key = createHash('sha256').update(JSON.stringify([FORM, source.path, size, mtimeMs])).digest('hex').slice(0, 24)
  const folder = join(dirname(modelCacheFolder(env)), 'gguf-text', key)
  await prepareGgufTextFolder(metadata, folder, source.path)
  return folder
}
