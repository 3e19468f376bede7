import type { RandomStream } from '../../random-stream.ts'
import type { SampleRequest } from '../sample-request.ts'

/** A request made of token ids alone. */
export interface TokenRequest extends SampleRequest {
  readonly prompt: readonly number[]
}

export interface RandomWorkload {
  readonly numPrompts: number
  readonly vocabSize: number
  /** Mean number of tokens after the shared prefix. */
  readonly inputLen: number
  readonly outputLen: number
  /** Lengths are uniform over `[len · (1 - ratio), len · (1 + ratio)]`; below 1. */
  readonly rangeRatio: number
  /** Tokens that every prompt begins with. */
  readonly prefixLen: number
}

/** vLLM's `random` dataset: independent prompts of random tokens behind one shared prefix. */
export function randomRequests (workload: RandomWorkload, random: RandomStream): TokenRequest[] {
  const { numPrompts, vocabSize, inputLen, outputLen, rangeRatio, prefixLen } = workload
  const length = (around: number): number => random.integer(Math.max(1, Math.floor(around * (1 - rangeRatio))), Math.max(1, Math.ceil(around * (1 + rangeRatio))))
  const prefix = randomTokens(prefixLen, vocabSize, random)
  return Array.from({ length: numPrompts }, () => tokenRequest([...prefix, ...randomTokens(length(inputLen), vocabSize, random)], length(outputLen)))
}

export interface PrefixRepetitionWorkload {
  readonly numPrompts: number
  readonly vocabSize: number
  readonly numPrefixes: number
  readonly prefixLen: number
  readonly suffixLen: number
  readonly outputLen: number
}

/** vLLM's `prefix_repetition` dataset: a few long prefixes, each with as many suffixes as the others, in random order. */
export function prefixRepetitionRequests (workload: PrefixRepetitionWorkload, random: RandomStream): TokenRequest[] {
  const { numPrompts, vocabSize, numPrefixes, prefixLen, suffixLen, outputLen } = workload
  const prefixes = Array.from({ length: numPrefixes }, () => randomTokens(prefixLen, vocabSize, random))
  const requests = Array.from({ length: numPrompts }, (_, i) =>
    tokenRequest([...prefixes[i % numPrefixes] ?? [], ...randomTokens(suffixLen, vocabSize, random)], outputLen))
  return random.shuffled(requests)
}

function randomTokens (length: number, vocabSize: number, random: RandomStream): number[] {
  return Array.from({ length }, () => random.integer(0, vocabSize - 1))
}

function tokenRequest (prompt: readonly number[], outputTokens: number): TokenRequest {
  return { prompt, promptTokens: prompt.length, outputTokens }
}
