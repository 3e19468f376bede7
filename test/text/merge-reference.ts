/** Byte-pair merging by its definition, and small vocabularies to try it with. */
import type { SeededRandom } from '../fakes/seeded-random.ts'

type Pair = readonly [string, string]

/** The rank of each merge by its two tokens, apart from each other by a character that none has. */
export function mergesByRank (merges: readonly Pair[], ranks: readonly number[]): ReadonlyMap<string, number> {
  return new Map(merges.map((pair, i) => [pair.join('\0'), ranks[i] ?? i]))
}

/** Merges the pair of lowest rank, the leftmost of equal ones, until there is none. */
export function mergeSlowly (word: readonly string[], ranks: ReadonlyMap<string, number>): string[] {
  const symbols = [...word]
  for (;;) {
    const found = symbols.slice(1).map((right, i) => ranks.get(`${symbols[i] ?? ''}\0${right}`) ?? Infinity)
    const best = Math.min(Infinity, ...found)
    if (best === Infinity) return symbols
    const at = found.indexOf(best)
    symbols.splice(at, 2, `${symbols[at] ?? ''}${symbols[at + 1] ?? ''}`)
  }
}

/**
 * SentencePiece's BPE by its definition: the neighbours whose joint piece has the highest score become one, the leftmost of equal ones.
 * @param scores of the pieces that may be made
 */
export function mergeByScore (word: readonly string[], scores: ReadonlyMap<string, number>): string[] {
  const symbols = [...word]
  for (;;) {
    const found = symbols.slice(1).map((right, i) => scores.get(`${symbols[i] ?? ''}${right}`) ?? -Infinity)
    const best = Math.max(-Infinity, ...found)
    if (best === -Infinity) return symbols
    const at = found.indexOf(best)
    symbols.splice(at, 2, `${symbols[at] ?? ''}${symbols[at + 1] ?? ''}`)
  }
}

/** Letters, and tokens that were each made of two before it. */
export function randomVocabulary (random: SeededRandom, letters: string, numMerges: number) {
  const tokens = [...letters]
  const merges: Pair[] = []
  for (let i = 0; i < numMerges; i++) {
    const pair: Pair = [random.pick(tokens), random.pick(tokens)]
    if (merges.some(other => other.join('\0') === pair.join('\0'))) continue
    merges.push(pair)
    if (!tokens.includes(pair.join(''))) tokens.push(pair.join(''))
  }
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]))
  return { merges, vocab, ids: (token: string): number => vocab[token] ?? -1 }
}
