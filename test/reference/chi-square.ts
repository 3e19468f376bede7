import type { RealArray } from './real-array.ts'

export interface ChiSquare {
  readonly statistic: number
  readonly degreesOfFreedom: number
  /** The statistic that a sampler which draws from `probabilities` exceeds once in about 30,000 samples. */
  readonly limit: number
}

// The approximation of the distribution asks for at least five expected draws in a bin.
const FEWEST_EXPECTED = 5
// Deviations from the mean of a normal: exceeded with probability 3.2e-5.
const LIMIT_DEVIATIONS = 4

/**
 * Pearson's goodness of fit of `counts[token]` draws to `probabilities[token]`. Tokens too rare to be judged alone share a bin,
 * rarest first; a draw of an impossible token makes the statistic infinite. The limit is Wilson and Hilferty's approximation (1931).
 */
export function chiSquare (counts: ArrayLike<number>, probabilities: RealArray): ChiSquare {
  const numDraws = Array.from(counts).reduce((a, b) => a + b, 0)
  let statistic = 0
  let numBins = 0
  let binCount = 0
  let binExpected = 0
  for (const { count, probability } of rarestFirst(counts, probabilities)) {
    if (probability === 0 && count > 0) statistic = Infinity
    binCount += count
    binExpected += probability * numDraws
    if (binExpected < FEWEST_EXPECTED) continue
    statistic += (binCount - binExpected) ** 2 / binExpected
    numBins++
    binCount = binExpected = 0
  }
  const degreesOfFreedom = Math.max(1, numBins - 1)
  const spread = 2 / (9 * degreesOfFreedom)
  const limit = degreesOfFreedom * (1 - spread + LIMIT_DEVIATIONS * Math.sqrt(spread)) ** 3
  return { statistic, degreesOfFreedom, limit }
}

function rarestFirst (
  counts: ArrayLike<number>, probabilities: RealArray
): ReadonlyArray<{ readonly count: number; readonly probability: number }> {
  return Array.from(probabilities, (probability, token) => ({ count: counts[token] ?? 0, probability }))
    .sort((a, b) => a.probability - b.probability)
}
