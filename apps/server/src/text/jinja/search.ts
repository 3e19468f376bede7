/**
 * Where one text is in another, in time linear in both. V8's own search takes their product at worst (`aaabaaa` in `aaaaaa…`), and
 * nothing interrupts it: with a text of a few million letters no limit on a template's time would hold.
 */
import { prefixFunction, unitsOf, type Units } from '../prefix-function.ts'

/** Up to here V8's search, which compares no more than this many letters at a place, is the faster one. */
const SHORT = 64

/** `text.indexOf(part, from)`. */
export function positionOf (text: string, part: string, from = 0): number {
  if (part.length <= SHORT) return text.indexOf(part, from)
  const behind = search(unitsOf(text), unitsOf(part), from)
  return behind < 0 ? -1 : behind - part.length
}

/** `text.lastIndexOf(part)`. */
export function lastPositionOf (text: string, part: string): number {
  if (part.length <= SHORT) return text.lastIndexOf(part)
  const behind = search(unitsOf(text, true), unitsOf(part, true), 0)
  return behind < 0 ? -1 : text.length - behind
}

/** Behind the first match at or after `from`; -1: there is none. */
function search (text: Units, part: Units, from: number): number {
  if (text.length - from < part.length) return -1
  const fallback = prefixFunction(part)
  let matched = 0
  for (let i = from; i < text.length; i++) {
    const unit = text.at(i)
    while (matched > 0 && part.at(matched) !== unit) matched = fallback[matched - 1] ?? 0
    if (part.at(matched) === unit) matched++
    if (matched === part.length) return i + 1
  }
  return -1
}
