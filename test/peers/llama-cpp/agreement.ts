import type { Candidate, Continuation, Finding } from './findings.ts'

/** How far two continuations of a prompt agree. */
export interface GreedyAgreement {
  readonly numEqual: number
  readonly numTokens: number
  /** Where they part: what each one's candidates were there. Everything before is the same for both. */
  readonly parting: { readonly ours: readonly Candidate[], readonly theirs: readonly Candidate[] } | undefined
  /** Largest distance of the most likely token's logprob, while they agree. */
  readonly largestDistance: number
}

/** How far two scorings of the passage agree. */
export interface PassageAgreement {
  readonly perplexity: number
  readonly otherPerplexity: number
  /** Places where both find the same token most likely. */
  readonly numSameBest: number
  readonly numScores: number
  /** Of logprobs. */
  readonly meanDistance: number
  readonly largestDistance: number
}

export function greedyAgreement (ours: Continuation, theirs: Continuation): GreedyAgreement {
  const numTokens = Math.min(ours.length, theirs.length)
  const parts = ours.findIndex(([first], i) => first[0] !== theirs[i]?.[0][0])
  const numEqual = parts === -1 ? numTokens : parts
  const distances = ours.slice(0, numEqual).map(([first], i) => Math.abs(first[1] - (theirs[i]?.[0][1] ?? NaN)))
  return {
    numEqual,
    numTokens,
    parting: numEqual === numTokens ? undefined : { ours: ours[numEqual] ?? [], theirs: theirs[numEqual] ?? [] },
    largestDistance: Math.max(0, ...distances)
  }
}

export function passageAgreement (ours: Finding, theirs: Finding): PassageAgreement {
  const distances = ours.passage.map(({ logprob }, i) => Math.abs(logprob - (theirs.passage[i]?.logprob ?? NaN)))
  return {
    perplexity: perplexity(ours),
    otherPerplexity: perplexity(theirs),
    numSameBest: ours.passage.filter(({ best }, i) => best === theirs.passage[i]?.best).length,
    numScores: ours.passage.length,
    meanDistance: distances.reduce((sum, distance) => sum + distance, 0) / distances.length,
    largestDistance: Math.max(...distances)
  }
}

/** exp of the mean negative logprob of the passage's tokens, all but the first. */
function perplexity ({ passage }: Finding): number {
  return Math.exp(-passage.reduce((sum, { logprob }) => sum + logprob, 0) / passage.length)
}
