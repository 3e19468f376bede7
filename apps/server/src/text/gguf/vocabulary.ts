/**
 * The tokenizer keys of a GGUF file, checked.
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
 */
import type { TokenId } from '@daybreak/kvcache'
import { ModelFileError } from '../errors.ts'

/** Metadata by key. Arrays of numbers are typed arrays, booleans in them 0 and 1. */
export type GgufMetadata = ReadonlyMap<string, GgufMetadataValue>
export type GgufMetadataValue = number | boolean | string | NumberArray | readonly string[]
type NumberArray = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array

/** `tokenizer.ggml.token_type`. */
export const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

export interface GgufToken {
  readonly id: TokenId
  readonly content: string
  readonly type: number
  readonly score: number
}

/** `llama`: SentencePiece's BPE, by scores. `gpt2`: byte-level BPE, by merges. */
export type GgufTokenizerKind = 'llama' | 'gpt2'

export interface GgufVocabulary {
  /** Named in errors. */
  readonly source: string
  readonly kind: GgufTokenizerKind
  /** Without empty ones, which stand for nothing; `size` counts them. */
  readonly tokens: readonly GgufToken[]
  readonly size: number
  /** Only of `gpt2`, and empty otherwise. */
  readonly merges: readonly string[]
  /** `tokenizer.ggml.pre`. */
  readonly preTokenizer: string | undefined
  /** `general.name`. */
  readonly modelName: string
  /** Of a special token by its GGUF name (`bos`, `eos`, `eot` …): the token, where the file names one that exists. */
  special (name: string): GgufToken | undefined
  /** Of a switch by its GGUF name (`add_bos_token` …). */
  flag (name: string): boolean | undefined
}

/** SentencePiece's own, for files that name none. */
const SENTENCEPIECE_IDS: ReadonlyMap<string, TokenId> = new Map([['unknown', 0], ['bos', 1], ['eos', 2]])
const KINDS: readonly string[] = ['llama', 'gpt2'] satisfies GgufTokenizerKind[]

/** @throws ModelFileError for kinds of tokenizer that are not read, and for keys that are missing or not what they should be. */
export function readGgufVocabulary (metadata: GgufMetadata, source: string): GgufVocabulary {
  const kind = text(metadata, 'tokenizer.ggml.model', source)
  if (kind === undefined) throw refusal(source, 'tokenizer.ggml.model is missing: there is no tokenizer in it')
  if (!isKind(kind)) throw refusal(source, `its tokenizer is of the kind ${JSON.stringify(kind)}; ${KINDS.join(' and ')} are read`)
  const contents = strings(metadata, 'tokenizer.ggml.tokens', source)
  if (contents === undefined || contents.length === 0) throw refusal(source, 'tokenizer.ggml.tokens is missing')
  const merges = kind === 'gpt2' ? strings(metadata, 'tokenizer.ggml.merges', source) : []
  if (merges === undefined) throw refusal(source, 'tokenizer.ggml.merges is missing')
  const types = numbers(metadata, 'tokenizer.ggml.token_type', contents.length, source)
  const scores = numbers(metadata, 'tokenizer.ggml.scores', contents.length, source)
  if (kind === 'llama' && scores === undefined) throw refusal(source, 'tokenizer.ggml.scores is missing')
  const all = contents.map((content, id) => ({ id, content, type: types?.[id] ?? TOKEN_TYPE.normal, score: scores?.[id] ?? 0 }))
  const tokens = all.filter(({ content }) => content !== '')
  refuseDuplicates(tokens, source)
  return {
    source,
    kind,
    tokens,
    size: all.length,
    merges,
    preTokenizer: text(metadata, 'tokenizer.ggml.pre', source),
    modelName: text(metadata, 'general.name', source) ?? '',
    special: name => {
      const id = metadata.get(`tokenizer.ggml.${name}_token_id`) ?? (kind === 'llama' ? SENTENCEPIECE_IDS.get(name) : undefined)
      return typeof id === 'number' ? all[id] : undefined
    },
    flag: name => {
      const value = metadata.get(`tokenizer.ggml.${name}`)
      if (value !== undefined && typeof value !== 'boolean') throw refusal(source, `tokenizer.ggml.${name} is not a boolean`)
      return value
    }
  }
}

/** @throws ModelFileError when it is there and is not text */
export function text (metadata: GgufMetadata, key: string, source: string): string | undefined {
  const value = metadata.get(key)
  if (value !== undefined && typeof value !== 'string') throw refusal(source, `${key} is not text`)
  return value
}

export function refusal (source: string, problem: string): ModelFileError {
  return new ModelFileError({ file: source, problem })
}

function isKind (kind: string): kind is GgufTokenizerKind {
  return KINDS.includes(kind)
}

function strings (metadata: GgufMetadata, key: string, source: string): readonly string[] | undefined {
  const value = metadata.get(key)
  if (value === undefined) return undefined
  // An empty array of any type is an empty list of strings.
  if (ArrayBuffer.isView(value) && value.length === 0) return []
  if (typeof value !== 'object' || ArrayBuffer.isView(value)) throw refusal(source, `${key} is not a list of strings`)
  return value
}

function numbers (metadata: GgufMetadata, key: string, count: number, source: string): NumberArray | undefined {
  const value = metadata.get(key)
  if (value === undefined) return undefined
  if (!ArrayBuffer.isView(value)) throw refusal(source, `${key} is not a list of numbers`)
  if (value.length < count) throw refusal(source, `${key} has ${value.length} entries for ${count} tokens`)
  if (!value.every(number => Number.isFinite(number))) throw refusal(source, `${key} holds what is not a number`)
  return value
}

function refuseDuplicates (tokens: readonly GgufToken[], source: string): void {
  const ids = new Map<string, TokenId>()
  for (const { content, id } of tokens) {
    const other = ids.get(content)
    if (other !== undefined) throw refusal(source, `tokens ${other} and ${id} are both ${JSON.stringify(content)}`)
    ids.set(content, id)
  }
}
