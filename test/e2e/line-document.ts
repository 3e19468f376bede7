import type { SeededStream } from '../../apps/server/src/eval/seeded-stream.ts'
import { randomKey, randomNumber } from '../../apps/server/src/eval/vocabulary.ts'

export interface Line { readonly key: string, readonly value: string }

/** A document of `line KEY: NUMBER` for a system message, about 11 tokens a line, and what is in it. No key occurs twice. */
export function lineDocument (random: SeededStream, numLines: number): { readonly text: string, readonly lines: readonly Line[] } {
  const valueOf = new Map<string, string>()
  while (valueOf.size < numLines) valueOf.set(randomKey(random), randomNumber(random))
  const lines = [...valueOf].map(([key, value]) => ({ key, value }))
  return { text: lines.map(({ key, value }) => `line ${key}: ${value}\n`).join(''), lines }
}
