import { ask, BOS, type EvalDocument } from '../document.ts'
import type { SeededStream } from '../seeded-stream.ts'
import { WORDS } from '../vocabulary.ts'

const KINDS = ['friend', 'dog', 'boat', 'street', 'book', 'horse', 'garden', 'cat', 'city']

/** Two to eight facts told one by one and acknowledged, a later one replacing an earlier; then up to three of them asked back. */
export function memory (random: SeededStream): EvalDocument {
  const facts = new Map<string, string>()
  const told = Array.from({ length: random.integer(2, 8) }, () => {
    const kind = random.pick(KINDS)
    const word = random.pick(WORDS)
    const name = word.charAt(0).toUpperCase() + word.slice(1)
    facts.set(kind, name)
    return ask(`My ${kind} is called ${name}.`, `I will remember that your ${kind} is called ${name}.`)
  })
  const asked = random.sample([...facts], 3).map(([kind, name]) => ask(`What is my ${kind} called?`, `Your ${kind} is called ${name}.`))
  return { prefix: BOS, turns: [...told, ...asked] }
}
