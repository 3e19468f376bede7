import type { SeededRandom } from '../../fakes/seeded-random.ts'

const WORDS = ['Once', 'upon', 'a', 'time', 'the', 'girl', 'named', 'Lily', 'loved', 'sunshine', 'don\'t', '12345', 'http://', 'naïve', 'Straße', '東京', 'привет', '🙂', 'e\u0301', 'x²']
const RUNS = ['a', 'aa', 'aaa', '=', '==', '-', '.', '...', ' ', '  ', '0', 'ab', 'ha', 'la', '\n', '\t', '//', '**', 'ss', 'll', 'an', 'na', '\ufeff', '\u0001']

/** A text of words, of runs of short patterns (where ties between merges arise), or of any characters. */
export function randomSpmText (random: SeededRandom): string {
  const many = (most: number, make: () => string): string[] => Array.from({ length: random.between(0, most) }, make)
  switch (random.integer(4)) {
    case 0: return many(12, () => random.pick(WORDS)).join(' ')
    case 1: return many(4, () => random.pick(RUNS).repeat(random.between(1, 9))).join('')
    case 2: return many(20, () => random.pick([...WORDS, ...RUNS])).join('')
    default: return String.fromCodePoint(...many(15, () => '').map(() => random.pick([random.between(1, 0x7e), random.between(0xa0, 0x7ff), random.between(0x3000, 0x9fff), random.between(0x1f300, 0x1f6ff)])))
  }
}
