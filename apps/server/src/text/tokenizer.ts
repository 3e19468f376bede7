import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import type { TokenId } from '@daybreak/kvcache'
import { ModelFileError } from './errors.ts'
import { readTokenizerFiles, type TokenizerFiles, type TokenizerJson } from './model-files.ts'

export interface EncodeOptions {
  /** Adds what the tokenizer's post-processor adds, usually BOS. */
  readonly addSpecialTokens: boolean
  /** Whether `<|end|>` in the text is the token of that name, as Hugging Face has it, or seven characters a user typed. */
  readonly parseSpecialTokens: boolean
}

/** Reads a model folder's tokenizer. @throws ModelFileError */
export async function loadTokenizer (directory: string): Promise<Tokenizer> {
  return new Tokenizer(await readTokenizerFiles(directory), directory)
}

/** Text to token ids, synchronously: the same code runs inline and in the workers, so both give the same ids. */
export class Tokenizer {
  readonly specialTokens: ReadonlyMap<TokenId, string>
  readonly #files: TokenizerFiles
  readonly #parsing: HuggingFaceTokenizer
  #literal: { readonly tokenizer: HuggingFaceTokenizer; readonly prefix: TokenId[]; readonly suffix: TokenId[] } | undefined

  constructor (files: TokenizerFiles, directory: string) {
    this.#files = files
    const special = files.tokenizer.added_tokens.filter(token => token.special)
    this.specialTokens = new Map(special.map(token => [token.id, token.content]))
    try {
      this.#parsing = new HuggingFaceTokenizer(files.tokenizer, files.config)
    } catch (cause) {
      throw new ModelFileError({ file: `${directory}/tokenizer.json`, problem: 'the tokenizer cannot be built' }, { cause })
    }
  }

  encode (text: string, options: EncodeOptions): TokenId[] {
    if (options.parseSpecialTokens) return tokenIds(this.#parsing, text, options.addSpecialTokens)
    this.#literal ??= this.#buildLiteral()
    const { tokenizer, prefix, suffix } = this.#literal
    const ids = tokenIds(tokenizer, text, false)
    return options.addSpecialTokens ? [...prefix, ...ids, ...suffix] : ids
  }

  /** The token's spelling in the vocabulary; undefined for ids without one. */
  spelling (id: TokenId): string | undefined {
    return this.#parsing.id_to_token(id)
  }

  idOf (spelling: string): TokenId | undefined {
    return this.#parsing.token_to_id(spelling)
  }

  /** Every token as the vocabulary spells it. */
  spellings (): Iterable<string> {
    return this.#parsing.get_vocab().keys()
  }

  /** One more than the highest id. */
  get size (): number {
    let highest = -1
    for (const id of this.#parsing.get_vocab().values()) highest = Math.max(highest, id)
    return highest + 1
  }

  #buildLiteral () {
    const probe = 'a'
    const bare = tokenIds(this.#parsing, probe, false)
    const dressed = tokenIds(this.#parsing, probe, true)
    const start = dressed.findIndex((_, at) => bare.every((id, i) => dressed[at + i] === id))
    return {
      tokenizer: new HuggingFaceTokenizer(withoutSpecialTokens(this.#files.tokenizer), this.#files.config),
      prefix: dressed.slice(0, start),
      suffix: dressed.slice(start + bare.length)
    }
  }
}

function tokenIds (tokenizer: HuggingFaceTokenizer, text: string, addSpecialTokens: boolean): TokenId[] {
  return tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids
}

/** The same tokenizer with no way to reach a special token from text: neither by matching it whole nor through the vocabulary. */
function withoutSpecialTokens (tokenizer: TokenizerJson): TokenizerJson {
  const special = new Set(tokenizer.added_tokens.filter(token => token.special).map(token => token.content))
  const { unk_token: unknown, vocab } = tokenizer.model
  if (typeof unknown === 'string') special.delete(unknown)
  return {
    ...tokenizer,
    added_tokens: tokenizer.added_tokens.filter(token => !token.special),
    model: { ...tokenizer.model, vocab: withoutEntries(vocab, special) }
  }
}

/** BPE lists `{token: id}`; Unigram lists `[token, score]` by id, so there the entry stays, too unlikely ever to be chosen. */
function withoutEntries (vocab: unknown, special: ReadonlySet<string>): unknown {
  if (Array.isArray(vocab)) return vocab.map((entry: unknown) => Array.isArray(entry) && special.has(String(entry[0])) ? [entry[0], -1e6] : entry)
  if (typeof vocab !== 'object' || vocab === null) return vocab
  return Object.fromEntries(Object.entries(vocab).filter(([token]) => !special.has(token)))
}
