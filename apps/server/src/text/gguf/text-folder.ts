/** Makes the Hugging Face files that the text service and its workers read from a GGUF file's metadata. */
import { randomUUID } from 'node:crypto'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { byteLevelTokenizer } from './byte-level-tokenizer.ts'
import { endTokens } from './end-tokens.ts'
import { sentencePieceTokenizer } from './sentencepiece-tokenizer.ts'
import { readGgufVocabulary, text, type GgufMetadata, type GgufVocabulary } from './vocabulary.ts'

const TEMPLATE = 'tokenizer.chat_template'

export interface GgufTextFiles {
  readonly 'tokenizer.json': object
  readonly 'tokenizer_config.json': object
  readonly 'generation_config.json': object
}

/**
 * Writes tokenizer.json, tokenizer_config.json and generation_config.json into a folder, which is made if need be. Each file appears
 * whole or not at all, tokenizer.json last: where it is, the others are. Several processes may do this at once.
 * @param source what errors call the file
 * @throws ModelFileError for tokenizers that are not read, and for metadata that is not what it should be (rejects)
 */
export async function prepareGgufTextFolder (metadata: GgufMetadata, folder: string, source = 'the GGUF file'): Promise<void> {
  const files = ggufTextFiles(metadata, source)
  await mkdir(folder, { recursive: true })
  for (const name of ['generation_config.json', 'tokenizer_config.json', 'tokenizer.json'] as const) await writeWhole(join(folder, name), JSON.stringify(files[name]))
}

/** The same files as values. @throws ModelFileError */
export function ggufTextFiles (metadata: GgufMetadata, source = 'the GGUF file'): GgufTextFiles {
  const vocabulary = readGgufVocabulary(metadata, source)
  return {
    'tokenizer.json': vocabulary.kind === 'llama' ? sentencePieceTokenizer(vocabulary) : byteLevelTokenizer(vocabulary),
    'tokenizer_config.json': tokenizerConfig(vocabulary, metadata),
    'generation_config.json': { eos_token_id: endTokens(vocabulary) }
  }
}

function tokenizerConfig (vocabulary: GgufVocabulary, metadata: GgufMetadata): object {
  const template = chatTemplate(metadata, vocabulary.source)
  const named = [['bos_token', 'bos'], ['eos_token', 'eos'], ['unk_token', 'unknown'], ['pad_token', 'padding']] as const
  return {
    ...Object.fromEntries(named.map(([key, name]) => [key, vocabulary.special(name)?.content ?? null])),
    clean_up_tokenization_spaces: false,
    vocab_size: vocabulary.size,
    ...(template === undefined ? {} : { chat_template: template })
  }
}

/** The template, or a list of it and its variants by name. */
function chatTemplate (metadata: GgufMetadata, source: string): string | object[] | undefined {
  const main = text(metadata, TEMPLATE, source)
  const keys = [...metadata.keys()].filter(key => key.startsWith(`${TEMPLATE}.`))
  const variants = keys.map(key => ({ name: key.slice(TEMPLATE.length + 1), template: text(metadata, key, source) }))
  if (variants.length === 0) return main
  return [...(main === undefined ? [] : [{ name: 'default', template: main }]), ...variants.filter(({ name }) => name !== 'default')]
}

async function writeWhole (file: string, content: string): Promise<void> {
  const unfinished = `${file}.${randomUUID()}`
  try {
    await writeFile(unfinished, content)
    await rename(unfinished, file)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
}
