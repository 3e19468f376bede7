import { single, type EvalDocument } from '../document.ts'
import type { SeededStream } from '../seeded-stream.ts'
import { WORDS } from '../vocabulary.ts'

const CHANGES: ReadonlyArray<readonly [string, (words: readonly string[]) => string]> = [
  ['Repeat', words => words.join(' ')],
  ['Uppercase', words => words.join(' ').toUpperCase()],
  ['Reverse the words of', words => words.toReversed().join(' ')],
  ['Count the words of', words => String(words.length)],
  ['Sort', words => words.toSorted().join(' ')]
]

/** One to six words to repeat, raise, reverse, count or sort. */
export function string (random: SeededStream): EvalDocument {
  const words = Array.from({ length: random.integer(1, 6) }, () => random.pick(WORDS))
  const [name, change] = random.pick(CHANGES)
  return single(`${name}: ${words.join(' ')}`, change(words))
}
