import type { SeededRandom } from '../fakes/seeded-random.ts'

const PIECES = ['a', 'Z', '0', '42', ' ', '  ', '\n', '\t', '.', '"', 'amber-anchor', 'é', 'e\u0301', 'ß', 'İ', '日本語', '中文', '한국어',
  'नमस्ते', '🙂', '👩‍👩‍👧‍👦', '🏳️‍🌈', '\u200b', '\ufeff', '\u0000', '<|end|', '<|user|>', '<|end|>', '𝔘', '▁', 'Ġ', '\ud7ff', '￿']

/** Up to `maxPieces` pieces that tokenizers get wrong: combining marks, joined emoji, CJK, control and special-looking text. */
export function randomText (random: SeededRandom, maxPieces: number): string {
  return Array.from({ length: 1 + random.integer(maxPieces) }, () => random.pick(PIECES)).join('')
}
