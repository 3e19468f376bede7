import { single, type EvalDocument } from '../document.ts'
import type { SeededStream } from '../seeded-stream.ts'
import { CITIES, NAMES, randomKey } from '../vocabulary.ts'

/** A record in words, some of its fields wanted as JSON in a given order. */
export function extract (random: SeededStream): EvalDocument {
  const fields: ReadonlyArray<readonly [string, string | number | boolean]> = [
    ['name', random.pick(NAMES)],
    ['age', random.integer(18, 90)],
    ['city', random.pick(CITIES)],
    ['id', randomKey(random)],
    ['vip', random.chance(0.5)]
  ]
  const wanted = random.sample(fields, random.integer(2, 5))
  const record = random.sample(fields, fields.length).map(([name, value]) => `${name} ${value}`).join(', ')
  const names = wanted.map(([name]) => name).join(', ')
  return single(`Record: ${record}. Give ${names} as JSON.`, JSON.stringify(Object.fromEntries(wanted)))
}
