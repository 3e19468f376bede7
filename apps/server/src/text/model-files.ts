/** Reads the Hugging Face files that describe a model's text: checked when read, plain values afterwards. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ModelFileError } from './errors.ts'

const addedToken = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string(),
  special: z.boolean().default(false),
  single_word: z.boolean().optional(),
  lstrip: z.boolean().optional(),
  rstrip: z.boolean().optional(),
  normalized: z.boolean().optional()
})

const pattern = z.union([z.object({ String: z.string() }), z.object({ Regex: z.string() })])

const decoderStep = z.looseObject({
  type: z.string(),
  replacement: z.string().optional(),
  pattern: pattern.optional(),
  content: z.string().optional(),
  start: z.int().nonnegative().optional(),
  stop: z.int().nonnegative().optional(),
  prepend_scheme: z.string().optional(),
  add_prefix_space: z.boolean().optional(),
  get decoders () { return z.array(decoderStep).optional() }
})

const tokenizerJson = z.looseObject({
  added_tokens: z.array(addedToken).default([]),
  normalizer: z.looseObject({ type: z.string() }).nullish(),
  pre_tokenizer: z.looseObject({ type: z.string() }).nullish(),
  post_processor: z.looseObject({ type: z.string() }).nullish(),
  decoder: decoderStep.nullish(),
  model: z.looseObject({ unk_token: z.string().nullish(), vocab: z.unknown().optional() })
})

const tokenText = z.union([z.string(), z.looseObject({ content: z.string() }).transform(token => token.content)])
const namedTemplates = z.array(z.object({ name: z.string(), template: z.string() }))

const tokenizerConfig = z.looseObject({
  bos_token: tokenText.nullish(),
  eos_token: tokenText.nullish(),
  chat_template: z.union([z.string(), namedTemplates]).nullish(),
  // Ours, for tokenizers out of files that have no config.json.
  vocab_size: z.int().positive().optional()
})

const tokenIds = z.union([z.int(), z.array(z.int())]).nullish()
const modelConfig = z.looseObject({ vocab_size: z.int().positive().optional(), eos_token_id: tokenIds })
const generationConfig = z.looseObject({ eos_token_id: tokenIds })
const processorTemplate = z.looseObject({ chat_template: z.string() })

export type TokenizerJson = z.infer<typeof tokenizerJson>
export type DecoderStep = z.infer<typeof decoderStep>
export type TokenizerConfig = z.infer<typeof tokenizerConfig>

export interface TokenizerFiles {
  readonly tokenizer: TokenizerJson
  readonly config: TokenizerConfig
}

export interface TextModelFiles extends TokenizerFiles {
  /** From config.json, else tokenizer_config.json; undefined when neither says. */
  readonly vocabSize: number | undefined
  /** From generation_config.json, else config.json. */
  readonly eosTokenIds: readonly number[]
  /**
   * The template of chat_template.jinja, else of chat_template.json, where older models that see or hear keep that of their processor.
   * Either takes precedence over the configuration's, as with transformers' processors; its tokenizers know the first alone.
   */
  readonly chatTemplateFile: string | undefined
}

/** @throws ZodError for what is not a tokenizer */
export function parseTokenizerJson (value: unknown): TokenizerJson {
  return tokenizerJson.parse(value)
}

/** @throws ModelFileError when tokenizer.json is missing or either file is malformed. A missing tokenizer_config.json is an empty one. */
export async function readTokenizerFiles (directory: string): Promise<TokenizerFiles> {
  const [tokenizer, config] = await Promise.all([
    readJson(join(directory, 'tokenizer.json'), tokenizerJson),
    readJson(join(directory, 'tokenizer_config.json'), tokenizerConfig)
  ])
  if (tokenizer === undefined) throw new ModelFileError({ file: join(directory, 'tokenizer.json'), problem: 'not found' })
  return { tokenizer, config: config ?? {} }
}

/** @throws ModelFileError as `readTokenizerFiles` does; the other files may be missing. */
export async function readTextModelFiles (directory: string): Promise<TextModelFiles> {
  const [files, model, generation, jinja, json] = await Promise.all([
    readTokenizerFiles(directory),
    readJson(join(directory, 'config.json'), modelConfig),
    readJson(join(directory, 'generation_config.json'), generationConfig),
    readIfPresent(join(directory, 'chat_template.jinja')),
    readJson(join(directory, 'chat_template.json'), processorTemplate)
  ])
  return {
    ...files,
    vocabSize: model?.vocab_size ?? files.config.vocab_size,
    eosTokenIds: [generation?.eos_token_id ?? model?.eos_token_id ?? []].flat(),
    chatTemplateFile: jinja ?? json?.chat_template
  }
}

async function readJson<Schema extends z.ZodType> (file: string, schema: Schema): Promise<z.infer<Schema> | undefined> {
  const text = await readIfPresent(file)
  if (text === undefined) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ModelFileError({ file, problem: 'not valid JSON' }, { cause })
  }
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw new ModelFileError({ file, problem: z.prettifyError(parsed.error) })
  return parsed.data
}

async function readIfPresent (file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined
    throw new ModelFileError({ file, problem: 'cannot be read' }, { cause })
  }
}
