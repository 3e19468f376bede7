import { greedyAgreement, passageAgreement } from './agreement.ts'
import type { GreedyAgreement } from './agreement.ts'
import type { Candidate, Finding, Findings } from './findings.ts'
import { AS_IT_COMES, IN_FLOATS } from './measure-llama-cpp.ts'
import { NUM_TOKENS } from './prompts.ts'
import type { Subject } from './subject.ts'

export interface Report {
  readonly text: string
  /** What is asked of Daybreak and was not found; empty: nothing. */
  readonly failures: readonly string[]
}

/** Of two perplexities: the larger by this much at most. */
const TOLERANCE = 0.01

/**
 * Compares the halves. Asked for: the same token ids for every text; against llama.cpp in floats, the same greedy tokens and a
 * perplexity within 1 %; against llama.cpp as it comes, a perplexity at most 1 % higher. Greedy tokens of llama.cpp as it comes are
 * shown and not asked for: it rounds activations to 8 bits, and parts from itself when something else changes a little.
 */
export function compareFindings (subject: Subject, ours: Findings, llama: Findings, decode: (tokens: readonly number[]) => string): Report {
  const [own] = ours.findings
  const floats = llama.findings.find(({ name }) => name === IN_FLOATS)
  const stored = llama.findings.find(({ name }) => name === AS_IT_COMES)
  if (own === undefined || floats === undefined || stored === undefined) throw new Error('a half of the comparison is not whole: measure it again')
  const pairs: ReadonlyArray<readonly [string, Finding, Finding]> = [
    ...llama.findings.map(theirs => [`Daybreak and llama.cpp, ${theirs.name}`, own, theirs] as const),
    ...llama.findings.filter(theirs => theirs !== stored).map(theirs => [`llama.cpp, ${stored.name}, and ${theirs.name}`, stored, theirs] as const)
  ]
  const lines = [`${subject.model}: ${ours.engine}; ${llama.engine}`]
  for (const [title, one, other] of pairs) lines.push('', title, ...comparison(subject, one, other, decode))
  const failures = llama.tokenizedOtherwise.map(text => `llama.cpp has other token ids for ${JSON.stringify(text.slice(0, 40))}`)
  for (const [i, { text }] of subject.prompts.entries()) {
    const { numEqual } = agreement(own, floats, i)
    if (numEqual < NUM_TOKENS) failures.push(`${JSON.stringify(text)}: only ${numEqual} of ${NUM_TOKENS} tokens are those of llama.cpp, ${IN_FLOATS}`)
  }
  const [inFloats, asItComes] = [floats, stored].map(theirs => perplexityRatio(own, theirs))
  if (!(Math.abs((inFloats ?? NaN) - 1) <= TOLERANCE)) failures.push(`perplexity is ${percent(inFloats)} from that of llama.cpp, ${IN_FLOATS}`)
  if (!((asItComes ?? NaN) - 1 <= TOLERANCE)) failures.push(`perplexity is ${percent(asItComes)} from that of llama.cpp, ${AS_IT_COMES}`)
  lines.push('', ...failures.length === 0 ? ['all that is asked for was found'] : failures.map(failure => `FAILED: ${failure}`))
  return { text: lines.join('\n'), failures }
}

function comparison (subject: Subject, one: Finding, other: Finding, decode: (tokens: readonly number[]) => string): string[] {
  const lines: string[] = []
  for (const [i, { text }] of subject.prompts.entries()) {
    const { numEqual, numTokens, parting, largestDistance } = agreement(one, other, i)
    lines.push(`  ${`${numEqual} of ${numTokens}`.padStart(8)} tokens equal, logprobs within ${largestDistance.toFixed(5)}  ${JSON.stringify(text)}`)
    if (parting !== undefined) lines.push(`           then ${choice(parting.ours, decode)} against ${choice(parting.theirs, decode)}`)
  }
  const { perplexity, otherPerplexity, numSameBest, numScores, meanDistance, largestDistance } = passageAgreement(one, other)
  lines.push(
    `  perplexity ${perplexity.toFixed(4)} and ${otherPerplexity.toFixed(4)}, ${percent(perplexity / otherPerplexity)}; ${numScores} tokens, ` +
    `the same most likely token for ${numSameBest}; logprobs differ by ${meanDistance.toFixed(5)} on average, ${largestDistance.toFixed(5)} at most`)
  return lines
}

function agreement (one: Finding, other: Finding, prompt: number): GreedyAgreement {
  return greedyAgreement(one.continuations[prompt] ?? [], other.continuations[prompt] ?? [])
}

function perplexityRatio (one: Finding, other: Finding): number {
  const { perplexity, otherPerplexity } = passageAgreement(one, other)
  return perplexity / otherPerplexity
}

/** `" city" before " center" by 0.0312` */
function choice ([first, second]: readonly Candidate[], decode: (tokens: readonly number[]) => string): string {
  const name = (candidate: Candidate | undefined): string => candidate === undefined ? 'nothing' : JSON.stringify(decode([candidate[0]]))
  return `${name(first)} before ${name(second)} by ${((first?.[1] ?? NaN) - (second?.[1] ?? NaN)).toFixed(5)}`
}

function percent (ratio: number | undefined): string {
  return `${(100 * ((ratio ?? NaN) - 1)).toFixed(3)} %`
}
