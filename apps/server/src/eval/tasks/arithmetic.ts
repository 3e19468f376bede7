import { single, type EvalDocument } from '../document.ts'
import type { SeededStream } from '../seeded-stream.ts'

const PHRASES: ReadonlyArray<(a: number, sign: string, b: number) => string> = [
  (a, sign, b) => `${a} ${sign} ${b} = ?`,
  (a, sign, b) => `What is ${a} ${sign} ${b}?`,
  (a, sign, b) => `${a}${sign}${b}=`
]

/** A sum (three in five) or a difference that is not negative, of numbers up to 9, 99 (half of the time) or 999. */
export function arithmetic (random: SeededStream): EvalDocument {
  const top = random.pick([9, 99, 99, 999])
  const [x, y] = [random.integer(0, top), random.integer(0, top)]
  const adds = random.chance(0.6)
  const [a, b] = adds || x >= y ? [x, y] : [y, x]
  return single(random.pick(PHRASES)(a, adds ? '+' : '-', b), String(adds ? a + b : a - b))
}
