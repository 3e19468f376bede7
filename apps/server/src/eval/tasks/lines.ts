import { about, ask, type EvalDocument } from '../document.ts'
import type { SeededStream } from '../seeded-stream.ts'
import { randomKey, randomNumber } from '../vocabulary.ts'

/**
 * Sizes in tokens as the embedded model's training and gauge.json assume them, for `line amber-anchor: 48213\n` and for a question with
 * its answer. They are generous: a document comes to three to four fifths of its nominal length.
 */
const LINE_TOKENS = 13.4
const QUESTION_TOKENS = 26
const FRAME_TOKENS = 20

/** Retrieval: keyed lines that fill `length` tokens together with the questions, up to 66 of which ask for random ones of them. */
export function lines (random: SeededStream, length: number): EvalDocument {
  const numAsked = random.integer(3, Math.max(3, Math.min(64, Math.floor(length / 50))))
  const numLines = Math.max(3, Math.trunc((length - numAsked * QUESTION_TOKENS - FRAME_TOKENS) / LINE_TOKENS))
  const valueOf = new Map<string, string>()
  while (valueOf.size < numLines) valueOf.set(randomKey(random), randomNumber(random))
  const entries = [...valueOf]
  const document = entries.map(([key, value]) => `line ${key}: ${value}\n`).join('')
  const turns = Array.from({ length: numAsked + 2 }, () => {
    const [key, value] = random.pick(entries)
    return ask(`What is line ${key}?`, value)
  })
  return about(document, turns)
}
