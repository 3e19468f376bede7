import { about, ask, type EvalDocument } from '../document.ts'
import type { SeededStream } from '../seeded-stream.ts'
import { randomKey, randomNumber } from '../vocabulary.ts'
import { fillerStory } from './filler-prose.ts'

export interface NeedleOptions {
  /** Tokens, document and questions together. */
  readonly length: number
  /** Of the filler, in the tokenizer at hand: how its characters are counted as tokens. */
  readonly charactersPerToken: number
  /** 0 is before the first story, 1 after the last. Given: one number, there. Otherwise one to six, anywhere. */
  readonly depth?: number
}

/** Tokens kept for each number: the sentence that says it, its question and its answer. */
const NEEDLE_TOKENS = 60
const FRAME_TOKENS = 40

/**
 * Numbers hidden in prose, then asked for. Differs from the training's generator, which pads with stories of another model, places by
 * chance alone, and cuts what does not fit (so that long documents lose questions): here the prose is this project's own, and fits.
 */
export function needle (random: SeededStream, options: NeedleOptions): EvalDocument {
  const { length, charactersPerToken, depth } = options
  const count = depth === undefined ? random.integer(1, 6) : 1
  const room = Math.max(80, length - count * NEEDLE_TOKENS - FRAME_TOKENS)
  const parts = filler(random, Math.floor(room * charactersPerToken))
  const valueOf = new Map<string, string>()
  while (valueOf.size < count) valueOf.set(randomKey(random), randomNumber(random))
  for (const [key, value] of valueOf) {
    const at = depth === undefined ? random.integer(0, parts.length) : Math.round(depth * parts.length)
    parts.splice(at, 0, `The secret number of ${key} is ${value}. Remember it.\n`)
  }
  return about(parts.join(''), [...valueOf].map(([key, value]) => ask(`What is the secret number of ${key}?`, value)))
}

/** Stories of exactly `characters` characters together; the last one is cut. */
function filler (random: SeededStream, characters: number): string[] {
  const parts: string[] = []
  let left = characters
  while (left > 0) {
    const story = `${fillerStory(random)}\n`.slice(0, left)
    parts.push(story)
    left -= story.length
  }
  return parts
}
