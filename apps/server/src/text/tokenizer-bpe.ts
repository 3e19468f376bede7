/** The BPE model of a tokenizer.json, over ids. */
import type { TokenId } from '@daybreak/kvcache'
import { BYTE_LETTERS, byteTokenIds } from './token-bytes.ts'
import { readMerges, readVocabulary, type BpeModelFile } from './tokenizer-bpe-file.ts'
import { Merger } from './tokenizer-merges.ts'

/** What the model of a tokenizer does with a piece of text. */
export interface PieceModel {
  /** Whether no token reaches across the beginning of a run of `▁`: then text may be cut there, and each part encoded by itself. */
  readonly splitsBeforeSpaces: boolean
  readonly vocabulary: ReadonlyMap<string, TokenId>
  /**
   * Appends the ids of a piece.
   * @param literal special tokens are out of reach
   */
  encode (piece: string, literal: boolean, ids: TokenId[]): void
}

/** Longer ones repeat rarely; and up to here V8 copies the letters, where a slice of more would keep its whole text in memory. */
const LONGEST_CACHED = 12
const MAX_CACHED = 2 ** 16
/** Room for a longer word is given back at once. */
const KEPT_SYMBOLS = 2 ** 18

/**
 * Ids of pieces as Hugging Face's Rust library finds them: characters without an entry become bytes (`<0xNN>`) or the unknown token, then
 * neighbours merge. Words that were seen before are looked up.
 */
export class BytePairModel implements PieceModel {
  readonly splitsBeforeSpaces: boolean
  /** Whether pieces are text whose bytes are the letters, or text that is spelled in the vocabulary's letters already. */
  readonly #byteLevel: boolean
  readonly #vocab: ReadonlyMap<string, TokenId>
  readonly #byteIds: Int32Array
  readonly #merger: Merger
  readonly #wholeWords: boolean
  readonly #fuseUnknown: boolean
  readonly #unknown: TokenId | undefined
  readonly #special: Uint8Array
  readonly #parsed = new Map<string, readonly TokenId[]>()
  readonly #literal = new Map<string, readonly TokenId[]>()
  readonly #encoder = new TextEncoder()
  #symbols = new Int32Array(256)

  /**
   * @param special ids that a literal reading cannot give
   * @throws TypeError for entries that are not tokens, ids or merges of them
   */
  constructor (model: BpeModelFile, { byteLevel, special }: { readonly byteLevel: boolean; readonly special: Iterable<TokenId> }) {
    this.#byteLevel = byteLevel
    this.#wholeWords = model.ignore_merges === true
    this.#fuseUnknown = model.fuse_unk === true
    const vocab = readVocabulary(model.vocab)
    this.#vocab = vocab
    this.#byteIds = byteLevel ? letterIds(vocab) : model.byte_fallback === true ? byteTokenIds(vocab) : new Int32Array(256).fill(-1)
    this.#unknown = typeof model.unk_token === 'string' ? vocab.get(model.unk_token) : undefined
    const { table, spaceInside } = readMerges(model, vocab)
    this.#merger = new Merger(table)
    // Where unknown characters are left out, what was around them merges.
    const losesNothing = this.#unknown !== undefined || this.#byteIds.every(id => id >= 0)
    this.splitsBeforeSpaces = !byteLevel && !this.#wholeWords && !spaceInside && vocab.has('▁') && losesNothing
    let highest = -1
    for (const id of vocab.values()) highest = Math.max(highest, id)
    this.#special = new Uint8Array(highest + 1)
    for (const id of special) if (id !== this.#unknown) this.#special[id] = 1
  }

  get vocabulary (): ReadonlyMap<string, TokenId> {
    return this.#vocab
  }

  encode (piece: string, literal: boolean, ids: TokenId[]): void {
    if (piece.length > LONGEST_CACHED) return this.#encode(piece, literal, ids)
    const cache = literal ? this.#literal : this.#parsed
    let known = cache.get(piece)
    if (known === undefined) {
      const found: TokenId[] = []
      this.#encode(piece, literal, found)
      if (cache.size >= MAX_CACHED) cache.clear()
      cache.set(piece, found)
      known = found
    }
    for (const id of known) ids.push(id)
  }

  #encode (piece: string, literal: boolean, ids: TokenId[]): void {
    if (this.#wholeWords) {
      const whole = this.#idOf(this.#byteLevel ? this.#spell(piece) : piece, literal)
      if (whole !== undefined) {
        ids.push(whole)
        return
      }
    }
    // Reading may replace the array that merging works on.
    const numSymbols = this.#read(piece, literal)
    const count = this.#merger.merge(this.#symbols, numSymbols, literal ? this.#special : undefined)
    for (let i = 0; i < count; i++) ids.push(this.#symbols[i] ?? 0)
    if (this.#symbols.length > KEPT_SYMBOLS) this.#symbols = new Int32Array(256)
  }

  /** Fills `#symbols` with the ids that merging starts from, and returns how many. */
  #read (piece: string, literal: boolean): number {
    // Three bytes for a UTF-16 unit at most.
    if (this.#symbols.length < piece.length * 3) this.#symbols = new Int32Array(piece.length * 3)
    return this.#byteLevel ? this.#readBytes(piece) : this.#readCharacters(piece, literal)
  }

  #readBytes (piece: string): number {
    let count = 0
    let wasUnknown = false
    for (const byte of this.#encoder.encode(piece)) {
      const id = this.#byteIds[byte] ?? -1
      count = id >= 0 ? this.#put(count, id) : this.#putUnknown(count, wasUnknown)
      wasUnknown = id < 0
    }
    return count
  }

  #readCharacters (piece: string, literal: boolean): number {
    let count = 0
    let wasUnknown = false
    for (const character of piece) {
      const id = this.#idOf(character, literal)
      const bytes = id === undefined ? this.#encoder.encode(character) : []
      const isUnknown = id === undefined && !bytes.every(byte => (this.#byteIds[byte] ?? -1) >= 0)
      if (id !== undefined) count = this.#put(count, id)
      else if (isUnknown) count = this.#putUnknown(count, wasUnknown)
      else for (const byte of bytes) count = this.#put(count, this.#byteIds[byte] ?? 0)
      wasUnknown = isUnknown
    }
    return count
  }

  #put (count: number, id: TokenId): number {
    this.#symbols[count] = id
    return count + 1
  }

  /** Text that nothing stands for is left out where there is no unknown token. */
  #putUnknown (count: number, wasUnknown: boolean): number {
    return this.#unknown === undefined || (wasUnknown && this.#fuseUnknown) ? count : this.#put(count, this.#unknown)
  }

  #idOf (spelling: string, literal: boolean): TokenId | undefined {
    const id = this.#vocab.get(spelling)
    return id !== undefined && literal && this.#special[id] === 1 ? undefined : id
  }

  #spell (piece: string): string {
    let spelled = ''
    for (const byte of this.#encoder.encode(piece)) spelled += BYTE_LETTERS[byte] ?? ''
    return spelled
  }
}

function letterIds (vocab: ReadonlyMap<string, TokenId>): Int32Array {
  return Int32Array.from(BYTE_LETTERS, letter => vocab.get(letter) ?? -1)
}
