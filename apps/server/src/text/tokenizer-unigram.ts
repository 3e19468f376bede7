/** The Unigram model of a tokenizer.json: of all ways to cut a piece into tokens, the one whose scores have the greatest sum. */
import type { TokenId } from '@daybreak/kvcache'
import { z } from 'zod'
import type { PieceModel } from './tokenizer-bpe.ts'
import { byteTokenIds } from './token-bytes.ts'
import { MergeTable } from './tokenizer-merges.ts'

const unigramModel = z.looseObject({
  // Files from before 2021 do not say what they are.
  type: z.literal('Unigram').nullish(),
  unk_id: z.int().nonnegative(),
  byte_fallback: z.boolean().nullish(),
  vocab: z.custom<readonly unknown[]>(Array.isArray)
})
const entry = z.tuple([z.string(), z.number()])

type UnigramModelFile = z.infer<typeof unigramModel>

/** What an unknown character costs beyond the least likely token. */
const UNKNOWN_PENALTY = 10
const ROOT = 0
const NOWHERE = -1
/** Arrays for longer pieces are given back at once. */
const KEPT_UNITS = 2 ** 18

/** Undefined for other models. @throws ZodError for a Unigram model that is not whole */
export function asUnigramModel (model: { readonly type?: unknown, readonly vocab?: unknown }): UnigramModelFile | undefined {
  return model.type === 'Unigram' || (typeof model.type !== 'string' && Array.isArray(model.vocab)) ? unigramModel.parse(model) : undefined
}

/**
 * Ids of pieces as Hugging Face's Rust library finds them: characters that no token begins with are unknown, and a run of them is one
 * unknown token, or its bytes (`<0xNN>`) where the model falls back on those. Linear in the text, times the longest token.
 * @see Kudo 2018, Subword Regularization
 */
export class UnigramModel implements PieceModel {
  readonly splitsBeforeSpaces = false
  readonly vocabulary: ReadonlyMap<string, TokenId>
  readonly #unknown: TokenId
  readonly #unknownScore: number
  readonly #scores: Float64Array
  readonly #special: ReadonlySet<TokenId>
  readonly #byteIds: Int32Array | undefined
  /** Edges of the trie of all tokens: a node and a UTF-16 unit make the node behind. */
  readonly #edges: MergeTable
  /** Of each node the token that ends there, or -1. */
  readonly #ends: Int32Array
  readonly #encoder = new TextEncoder()
  #best = new Float64Array(0)
  #from = new Int32Array(0)
  #ids = new Int32Array(0)

  /**
   * @param special ids that a literal reading cannot give
   * @throws TypeError for entries that are not a token and its score
   */
  constructor (model: UnigramModelFile, { special }: { readonly special: Iterable<TokenId> }) {
    const entries = model.vocab.map((candidate, id) => {
      const { data } = entry.safeParse(candidate)
      if (data === undefined) throw new TypeError(`entry ${id} of the vocabulary is not a token and its score`)
      return data
    })
    if (model.unk_id >= entries.length) throw new TypeError(`the unknown token is ${model.unk_id} of ${entries.length}`)
    this.vocabulary = new Map(entries.map(([token], id) => [token, id]))
    this.#scores = Float64Array.from(entries, ([, score]) => score)
    this.#unknown = model.unk_id
    this.#unknownScore = this.#scores.reduce((least, score) => Math.min(least, score), Infinity) - UNKNOWN_PENALTY
    this.#special = new Set([...special].filter(id => id !== model.unk_id))
    const byteIds = model.byte_fallback === true ? byteTokenIds(this.vocabulary) : undefined
    this.#byteIds = byteIds?.every(id => id >= 0) === true ? byteIds : undefined
    const numUnits = entries.reduce((sum, [token]) => sum + token.length, 0)
    this.#edges = new MergeTable(numUnits)
    this.#ends = new Int32Array(numUnits + 1).fill(NOWHERE)
    let numNodes = 1
    for (const [token, id] of this.vocabulary) {
      let node = ROOT
      for (let at = 0; at < token.length; at++) {
        const slot = this.#edges.find(node, token.charCodeAt(at))
        if (slot < 0) this.#edges.add(node, token.charCodeAt(at), 0, numNodes)
        node = slot < 0 ? numNodes++ : this.#edges.mergedAt(slot)
      }
      if (token !== '') this.#ends[node] = id
    }
  }

  encode (piece: string, literal: boolean, ids: TokenId[]): void {
    this.#makeRoom(piece.length)
    for (let at = 0; at < piece.length;) at += this.#extend(piece, at, literal)
    this.#trace(piece, literal, ids)
    if (piece.length > KEPT_UNITS) this.#makeRoom(0)
  }

  /** Tries every token that begins at `at`; the length of the character there, which is where the next may begin. */
  #extend (piece: string, at: number, literal: boolean): number {
    const before = this.#best[at] ?? 0
    const width = (piece.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
    let isKnown = false
    let node = ROOT
    for (let end = at; end < piece.length;) {
      const slot = this.#edges.find(node, piece.charCodeAt(end++))
      if (slot < 0) break
      node = this.#edges.mergedAt(slot)
      const id = this.#ends[node] ?? NOWHERE
      if (id === NOWHERE || (literal && this.#special.has(id))) continue
      this.#offer(at, end, id, before + (this.#scores[id] ?? 0))
      isKnown ||= end - at === width
    }
    if (!isKnown) this.#offer(at, at + width, this.#unknown, before + this.#unknownScore)
    return width
  }

  /** The first of equal ways to a place stays. */
  #offer (start: number, end: number, id: TokenId, score: number): void {
    if (this.#from[end] !== NOWHERE && score <= (this.#best[end] ?? 0)) return
    this.#from[end] = start
    this.#ids[end] = id
    this.#best[end] = score
  }

  /** The best way backwards, appended forwards. */
  #trace (piece: string, literal: boolean, ids: TokenId[]): void {
    const ends: number[] = []
    for (let end = piece.length; end > 0; end = this.#from[end] ?? 0) {
      // An unknown character behind another is of the same run.
      const isRun = this.#ids[end] === this.#unknown && this.#ids[ends.at(-1) ?? 0] === this.#unknown
      if (!isRun) ends.push(end)
    }
    let start = 0
    for (const end of ends.reverse()) {
      if (this.#ids[end] === this.#unknown) this.#putUnknown(piece.slice(start, end), literal, ids)
      else ids.push(this.#ids[end] ?? 0)
      start = end
    }
  }

  /** A run may spell a token that was too unlikely, and is that token then. */
  #putUnknown (text: string, literal: boolean, ids: TokenId[]): void {
    const id = this.vocabulary.get(text)
    if (id !== undefined && !(literal && this.#special.has(id))) ids.push(id)
    else if (this.#byteIds === undefined) ids.push(this.#unknown)
    else for (const byte of this.#encoder.encode(text)) ids.push(this.#byteIds[byte] ?? this.#unknown)
  }

  #makeRoom (units: number): void {
    if (this.#best.length <= units || units === 0) {
      this.#best = new Float64Array(units + 1)
      this.#from = new Int32Array(units + 1)
      this.#ids = new Int32Array(units + 1)
    }
    this.#best[0] = 0
    this.#ids[0] = NOWHERE
    this.#from.fill(NOWHERE, 0, units + 1)
  }
}
