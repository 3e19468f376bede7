/** What is left to @huggingface/tokenizers: normalisers, post-processors, translated regular expressions, BPE that is not plain. */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import type { TokenId } from '@daybreak/kvcache'
import type { TokenizerFiles, TokenizerJson } from './model-files.ts'
import type { PieceModel } from './tokenizer-bpe.ts'

/** The library's tokenizer as far as it is used; its own declarations cannot be resolved under `nodenext`. */
interface LibraryTokenizer {
  readonly normalizer: ((text: string) => string) | null
  readonly pre_tokenizer: { readonly pattern?: RegExp | null } | null
  readonly post_processor: ((tokens: string[], pair: null, addSpecialTokens: boolean) => { readonly tokens: readonly string[] }) | null
  readonly model: ((pieces: string[]) => readonly string[]) & { readonly unk_token_id?: TokenId }
  token_to_id (token: string): TokenId | undefined
  get_vocab (): ReadonlyMap<string, TokenId>
}

const NO_MODEL = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, model: { type: 'BPE', vocab: {}, merges: [] } }

/** @throws Error, of any class, for a kind the library does not know */
export function libraryNormalizer (config: TokenizerJson['normalizer']): ((text: string) => string) | undefined {
  return build({ ...NO_MODEL, normalizer: config ?? null }).normalizer ?? undefined
}

/**
 * The spellings that a post-processor puts before and behind a text.
 * @throws Error, of any class, for a kind the library does not know
 */
export function libraryAdditions (config: TokenizerJson['post_processor']): { readonly before: readonly string[]; readonly behind: readonly string[] } {
  const text = ''
  const { tokens } = build({ ...NO_MODEL, post_processor: config ?? null }).post_processor?.([text], null, true) ?? { tokens: [text] }
  const at = tokens.indexOf(text)
  if (at < 0) throw new TypeError('the post-processor leaves out the text')
  return { before: tokens.slice(0, at), behind: tokens.slice(at + 1) }
}

/**
 * An expression of Oniguruma's as JavaScript has it, with the flags `g` and `u`.
 * @throws SyntaxError where it cannot be translated
 */
export function libraryRegExp (pattern: { readonly String: string } | { readonly Regex: string }): RegExp {
  const expression = build({ ...NO_MODEL, pre_tokenizer: { type: 'Split', pattern, behavior: 'Isolated', invert: true } }).pre_tokenizer?.pattern
  if (!(expression instanceof RegExp)) throw new SyntaxError(`no pattern: ${JSON.stringify(pattern)}`)
  return expression
}

/** BPE that marks the parts of a word. */
export class LibraryModel implements PieceModel {
  readonly splitsBeforeSpaces = false
  readonly vocabulary: ReadonlyMap<string, TokenId>
  readonly #files: TokenizerFiles
  readonly #parsed: LibraryTokenizer
  #literal: LibraryTokenizer | undefined

  /** @throws Error, of any class, for what the library cannot read */
  constructor (files: TokenizerFiles) {
    this.#files = files
    this.#parsed = build(files.tokenizer, files.config)
    this.vocabulary = this.#parsed.get_vocab()
  }

  encode (piece: string, literal: boolean, ids: TokenId[]): void {
    const tokenizer = literal ? (this.#literal ??= build(withoutSpecialTokens(this.#files.tokenizer), this.#files.config)) : this.#parsed
    for (const token of tokenizer.model([piece])) {
      const id = tokenizer.token_to_id(token) ?? tokenizer.model.unk_token_id
      if (id !== undefined) ids.push(id)
    }
  }
}

function build (tokenizer: object, config: object = {}): LibraryTokenizer {
  return new HuggingFaceTokenizer(tokenizer, config)
}

/** The same model with no way to reach a special token through the vocabulary. */
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

function withoutEntries (vocab: unknown, special: ReadonlySet<string>): unknown {
  if (typeof vocab !== 'object' || vocab === null) return vocab
  return Object.fromEntries(Object.entries(vocab).filter(([token]) => !special.has(token)))
}
