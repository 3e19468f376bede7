/** Finds the added tokens of a tokenizer.json in a text, as Hugging Face's Rust library (`AddedVocabulary`) does. */
import type { TokenId } from '@daybreak/kvcache'

export interface AddedToken {
  readonly id: TokenId
  readonly content: string
  /** Only between characters that are not part of a word. */
  readonly single_word?: boolean | undefined
  /** Takes the white space before it. */
  readonly lstrip?: boolean | undefined
  /** Takes the white space behind it. */
  readonly rstrip?: boolean | undefined
}

/** A stretch of text, or the token found between two. */
export type Section = string | TokenId

const WORD_FIRST = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u
const WORD_LAST = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u
const SPACE = /\p{White_Space}/u

/** The leftmost match counts, of several that begin together the longest. */
export class AddedTokenFinder {
  readonly #tokens: ReadonlyMap<string, AddedToken>
  readonly #pattern: RegExp | undefined

  /** Tokens without content are never found. */
  constructor (tokens: Iterable<AddedToken>) {
    this.#tokens = new Map([...tokens].filter(({ content }) => content !== '').map(token => [token.content, token]))
    const contents = [...this.#tokens.keys()].sort((a, b) => b.length - a.length)
    this.#pattern = contents.length === 0 ? undefined : new RegExp(contents.map(escapeForRegExp).join('|'), 'g')
  }

  /** The text in order, without empty stretches. */
  split (text: string): Section[] {
    if (this.#pattern === undefined) return text === '' ? [] : [text]
    const sections: Section[] = []
    let done = 0
    for (const { 0: content, index } of text.matchAll(this.#pattern)) {
      const token = this.#tokens.get(content)
      const end = index + content.length
      // What a token before it has stripped is not looked at again.
      if (token === undefined || index < done || (token.single_word === true && !standsAlone(text, index, end))) continue
      const start = token.lstrip === true ? spacesBefore(text, index, done) : index
      if (start > done) sections.push(text.slice(done, start))
      sections.push(token.id)
      done = token.rstrip === true ? spacesBehind(text, end) : end
    }
    if (done < text.length) sections.push(text.slice(done))
    return sections
  }
}

function escapeForRegExp (text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

function standsAlone (text: string, start: number, end: number): boolean {
  // Two UTF-16 units hold the one character that matters.
  return !WORD_LAST.test(text.slice(Math.max(0, start - 2), start)) && !WORD_FIRST.test(text.slice(end, end + 2))
}

/** White space is in the basic plane: a unit is a character. */
function spacesBefore (text: string, end: number, start: number): number {
  while (end > start && SPACE.test(text.charAt(end - 1))) end--
  return end
}

function spacesBehind (text: string, start: number): number {
  while (start < text.length && SPACE.test(text.charAt(start))) start++
  return start
}
