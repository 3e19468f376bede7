/** Python's string methods that are more than a JavaScript method by another name. Positions and lengths are in code points. */
import { lastPositionOf, positionOf } from './search.ts'

/** What `str.isspace` calls white space; JavaScript's `\s` differs in U+001C to U+001F, U+0085 and U+FEFF. */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const ONLY_SPACE = new RegExp(`^[${SPACE}]+$`, 'u')
const TITLE_WORD = new RegExp(`[^-${SPACE}({[<]+`, 'gu')
const WORDS = new RegExp(`[^${SPACE}]+`, 'gu')
const SPACES: ReadonlySet<string> = new Set('\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
/** Where `str.splitlines` ends a line. */
const LINE_END = '\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029'
const LINE_ENDS = new RegExp(`\\r\\n|[${LINE_END}]`, 'gu')

/** Which end of a text is meant. */
export type Side = 'left' | 'right' | 'both'

/** @param characters any of these are taken off; undefined: white space. */
export function strip (text: string, side: Side, characters?: string): string {
  const taken = characters === undefined ? SPACES : new Set(characters)
  const start = side === 'right' ? 0 : leadingUnits(text, taken)
  const end = side === 'left' ? text.length : text.length - trailingUnits(text, taken, start)
  return text.slice(start, end)
}

function leadingUnits (text: string, taken: ReadonlySet<string>): number {
  let units = 0
  for (const character of text) {
    if (!taken.has(character)) break
    units += character.length
  }
  return units
}

/** From the end, as a pattern anchored there would take quadratic time. */
function trailingUnits (text: string, taken: ReadonlySet<string>, start: number): number {
  let end = text.length
  while (end > start) {
    const last = (text.codePointAt(end - 2) ?? 0) > 0xffff ? text.slice(end - 2, end) : text.charAt(end - 1)
    if (!taken.has(last)) break
    end -= last.length
  }
  return text.length - end
}

/** `str.isspace`. */
export function isSpace (text: string): boolean {
  return ONLY_SPACE.test(text)
}

/** `split()` without a separator: by runs of white space, at most `maxSplit` times. */
export function splitWords (text: string, maxSplit: number): string[] {
  const words: string[] = []
  for (const match of text.matchAll(WORDS)) {
    if (maxSplit >= 0 && words.length === maxSplit) {
      words.push(text.slice(match.index))
      break
    }
    words.push(match[0])
  }
  return words
}

/** How many parts `splitWords` would make. */
export function countWords (text: string): number {
  return countMatches(text, WORDS)
}

/** How many lines `splitLines` would make, or one more. */
export function countLines (text: string): number {
  return countMatches(text, LINE_ENDS) + 1
}

/** How often a pattern matches. @param pattern a global one. */
export function countMatches (text: string, pattern: RegExp): number {
  let count = 0
  for (const _ of text.matchAll(pattern)) count += 1
  return count
}

/** `split` by a separator, at most `maxSplit` times; negative: as often as it occurs. */
export function splitBy (text: string, separator: string, maxSplit: number): string[] {
  const most = maxSplit < 0 ? Infinity : maxSplit
  const parts: string[] = []
  let done = 0
  while (parts.length < most) {
    const at = positionOf(text, separator, done)
    if (at < 0) break
    parts.push(text.slice(done, at))
    done = at + separator.length
  }
  parts.push(text.slice(done))
  return parts
}

/** `rsplit` by a separator, at most `maxSplit` times; negative: as often as it occurs. */
export function splitFromRight (text: string, separator: string, maxSplit: number): string[] {
  const most = maxSplit < 0 ? Infinity : maxSplit
  const parts: string[] = []
  let rest = text
  while (parts.length < most) {
    const at = lastPositionOf(rest, separator)
    if (at < 0) break
    parts.push(rest.slice(at + separator.length))
    rest = rest.slice(0, at)
  }
  return [rest, ...parts.reverse()]
}

/** Without the empty line that a line end at the end of the text would leave. */
export function splitLines (text: string): string[] {
  const lines = text.split(LINE_ENDS)
  if (lines.at(-1) === '') lines.pop()
  return lines
}

function capitalize (word: string): string {
  const first = String.fromCodePoint(word.codePointAt(0) ?? 0).length
  return word.slice(0, first).toUpperCase() + word.slice(first).toLowerCase()
}

/** `str.title`: a letter behind anything but a letter is upper case. */
export function titleCase (text: string): string {
  return text.replace(/\p{L}+/gu, capitalize)
}

/** jinja2's `title` filter, which takes only some characters for the start of a word. */
export function titleFilter (text: string): string {
  return text.replace(TITLE_WORD, capitalize)
}

/** Python's `len`. */
export function countCodePoints (text: string): number {
  if (!/[\ud800-\udfff]/.test(text)) return text.length
  let count = 0
  for (const _ of text) count += 1
  return count
}

/** Where code point number `position` starts, in UTF-16 units; the text's length when there are not so many. */
export function unitPosition (text: string, position: number): number {
  if (!/[\ud800-\udfff]/.test(text)) return Math.min(position, text.length)
  let units = 0
  for (let seen = 0; seen < position && units < text.length; seen++) units += (text.codePointAt(units) ?? 0) > 0xffff ? 2 : 1
  return units
}

/** Python's order of strings; JavaScript's compares UTF-16 units. */
export function compareCodePoints (a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  let at = 0
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1
  if (at === length) return a.length - b.length
  // Two code points that differ in their second half only.
  if (at > 0 && /[\ud800-\udbff]/.test(a.charAt(at - 1))) at -= 1
  return (a.codePointAt(at) ?? 0) - (b.codePointAt(at) ?? 0)
}

/** How often it occurs, without overlaps. */
export function countOccurrences (text: string, part: string): number {
  if (part === '') return countCodePoints(text) + 1
  let count = 0
  for (let at = positionOf(text, part); at >= 0; at = positionOf(text, part, at + part.length)) count += 1
  return count
}

/** The position in code points of a position in UTF-16 units; -1 stays -1. */
export function codePointPosition (text: string, position: number): number {
  return position < 0 ? position : countCodePoints(text.slice(0, position))
}
