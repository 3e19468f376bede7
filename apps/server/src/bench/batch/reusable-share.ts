import type { PromptTokens } from '@daybreak/scheduler'

const PRIMES = [16_777_619, 2_246_822_519] as const

/**
 * Share of all prompt tokens that a cache of infinite size would not compute again, the prompts coming one after the other: whole blocks that an
 * earlier prompt began with, but for the last token, whose logits are always needed. Blocks are told apart by 53 bits of hash.
 */
export function reusableShare (prompts: readonly PromptTokens[], blockSize: number): number {
  const known = new Set<number>()
  let reused = 0
  let all = 0
  for (const prompt of prompts) {
    all += prompt.length
    let [a, b] = [0x811c9dc5, 0x9e3779b9]
    let isKnown = true
    for (let block = 0; (block + 1) * blockSize <= prompt.length; block++) {
      for (let i = block * blockSize; i < (block + 1) * blockSize; i++) {
        const token = prompt[i] ?? 0
        a = Math.imul(a ^ token, PRIMES[0])
        b = Math.imul(b ^ (token + i), PRIMES[1]) ^ (b >>> 15)
      }
      const key = (a >>> 0) * 2 ** 21 + (b >>> 11)
      isKnown &&= known.has(key)
      if (isKnown && (block + 1) * blockSize < prompt.length) reused += blockSize
      known.add(key)
    }
  }
  return all === 0 ? 0 : reused / all
}
