import { toUSVString } from 'node:util'
import type { TokenId } from '@daybreak/kvcache'
import { z } from 'zod'
import { ModelFileError, UnsupportedTokenizerError } from './errors.ts'
import { readTokenizerFiles, type TokenizerFiles, type TokenizerJson } from './model-files.ts'
import { AddedTokenFinder } from './tokenizer-added-tokens.ts'
import { BytePairModel, type PieceModel } from './tokenizer-bpe.ts'
import { asBpeModel } from './tokenizer-bpe-file.ts'
import { LibraryModel, libraryAdditions, libraryNormalizer } from './tokenizer-library.ts'
import { cutBeforeSpaces, pieceCutter, type PieceCutter } from './tokenizer-pieces.ts'
import { asUnigramModel, UnigramModel } from './tokenizer-unigram.ts'

export interface EncodeOptions {
  /** Adds what the tokenizer's post-processor adds, usually BOS. */
  readonly addSpecialTokens: boolean
  /** Whether `<|end|>` in the text is the token of that name, as Hugging Face has it, or seven characters a user typed. */
  readonly parseSpecialTokens: boolean
}

/** Reads a model folder's tokenizer. @throws ModelFileError, UnsupportedTokenizerError (rejects) */
export async function loadTokenizer (directory: string): Promise<Tokenizer> {
  return new Tokenizer(await readTokenizerFiles(directory), directory)
}

type AddedTokenJson = TokenizerJson['added_tokens'][number]

/** What is looked for in a text, in the two ways of reading it. */
interface Finders {
  readonly parsed: AddedTokenFinder
  readonly literal: AddedTokenFinder
}

/**
 * Text to token ids, synchronously: the same code runs inline and in the workers, so both give the same ids. In the order of Hugging
 * Face's Rust library: added tokens, normalisation, added tokens that are looked for in normalised text, pieces, the model.
 */
export class Tokenizer {
  readonly specialTokens: ReadonlyMap<TokenId, string>
  readonly #added: ReadonlyMap<string, TokenId>
  readonly #spellings: readonly string[]
  readonly #raw: Finders
  readonly #normalized: Finders
  readonly #normalize: (text: string) => string
  readonly #cutter: PieceCutter
  readonly #model: PieceModel
  readonly #before: readonly TokenId[]
  readonly #behind: readonly TokenId[]

  /** @throws ModelFileError, UnsupportedTokenizerError */
  constructor (files: TokenizerFiles, directory: string) {
    const { tokenizer } = files
    const special = tokenizer.added_tokens.filter(token => token.special)
    this.specialTokens = new Map(special.map(token => [token.id, token.content]))
    try {
      const bpe = asBpeModel(tokenizer.model)
      this.#cutter = pieceCutter(tokenizer.pre_tokenizer, bpe !== undefined)
      const literal = { special: this.specialTokens.keys() }
      const model = bpe === undefined ? modelWithoutBytes(files, literal) : new BytePairModel(bpe, { ...literal, byteLevel: this.#cutter.byteLevel })
      this.#model = model
      this.#added = new Map(tokenizer.added_tokens.map(({ content, id }) => [content, id]))
      this.#spellings = spellingsOf(model.vocabulary, this.#added)

      const normalize = libraryNormalizer(tokenizer.normalizer)
      this.#normalize = normalize ?? (text => text)
      const isNormalized = (token: AddedTokenJson) => normalize !== undefined && (token.normalized ?? !token.special)
      this.#raw = finders(tokenizer.added_tokens.filter(token => !isNormalized(token)))
      this.#normalized = finders(tokenizer.added_tokens.filter(isNormalized).map(token => ({ ...token, content: this.#normalize(token.content) })))

      const { before, behind } = libraryAdditions(tokenizer.post_processor)
      this.#before = before.map(token => this.#known(token))
      this.#behind = behind.map(token => this.#known(token))
    } catch (cause) {
      if (cause instanceof UnsupportedTokenizerError) throw cause
      throw new ModelFileError({ file: `${directory}/tokenizer.json`, problem: `the tokenizer cannot be built: ${reasonOf(cause)}` }, { cause })
    }
  }

  /** Lone surrogates are read as U+FFFD. */
  encode (text: string, { addSpecialTokens, parseSpecialTokens }: EncodeOptions): TokenId[] {
    const finder = parseSpecialTokens ? 'parsed' : 'literal'
    const ids: TokenId[] = addSpecialTokens ? [...this.#before] : []
    for (const [i, section] of this.#raw[finder].split(toUSVString(text)).entries()) {
      if (typeof section === 'number') {
        ids.push(section)
        continue
      }
      for (const [j, part] of this.#normalized[finder].split(this.#normalize(section)).entries()) {
        if (typeof part === 'number') ids.push(part)
        else this.#encodePlain(part, i === 0 && j === 0, !parseSpecialTokens, ids)
      }
    }
    if (addSpecialTokens) ids.push(...this.#behind)
    return ids
  }

  #encodePlain (text: string, atStart: boolean, literal: boolean, ids: TokenId[]): void {
    for (const piece of this.#cutter.cut(text, atStart)) {
      if (!this.#model.splitsBeforeSpaces) this.#model.encode(piece, literal, ids)
      else for (const word of cutBeforeSpaces(piece)) this.#model.encode(word, literal, ids)
    }
  }

  /** The token's spelling in the vocabulary; undefined for ids without one. */
  spelling (id: TokenId): string | undefined {
    return this.#spellings[id]
  }

  idOf (spelling: string): TokenId | undefined {
    return this.#added.get(spelling) ?? this.#model.vocabulary.get(spelling)
  }

  /** Every token as the vocabulary spells it. */
  * spellings (): Iterable<string> {
    yield * this.#model.vocabulary.keys()
    yield * this.#added.keys()
  }

  /** One more than the highest id. */
  get size (): number {
    return this.#spellings.length
  }

  #known (token: string): TokenId {
    const id = this.idOf(token)
    if (id === undefined) throw new TypeError(`the post-processor adds ${token}, which is not in the vocabulary`)
    return id
  }
}

/** A model whose pieces are text, never bytes. */
function modelWithoutBytes (files: TokenizerFiles, literal: { readonly special: Iterable<TokenId> }): PieceModel {
  const { model } = files.tokenizer
  const { type } = model
  const unigram = asUnigramModel(model)
  if (unigram !== undefined) return new UnigramModel(unigram, literal)
  if (typeof type === 'string' && type !== 'BPE') throw new UnsupportedTokenizerError({ model: type })
  return new LibraryModel(files)
}

function reasonOf (cause: unknown): string {
  if (cause instanceof z.ZodError) return z.prettifyError(cause)
  return cause instanceof Error ? cause.message : String(cause)
}

function finders (tokens: readonly AddedTokenJson[]): Finders {
  return { parsed: new AddedTokenFinder(tokens), literal: new AddedTokenFinder(tokens.filter(token => !token.special)) }
}

function spellingsOf (...vocabularies: ReadonlyArray<ReadonlyMap<string, TokenId>>): string[] {
  const spellings: string[] = []
  for (const vocabulary of vocabularies) for (const [spelling, id] of vocabulary) spellings[id] = spelling
  return spellings
}
