/** Summary numbers of a list; the formulas are numpy's, so that reports compare with vLLM's. An empty list gives zeros. */

export function mean (values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Of the population, not of a sample: divided by n. */
export function standardDeviation (values: readonly number[]): number {
  const center = mean(values)
  return Math.sqrt(mean(values.map(value => (value - center) ** 2)))
}

export function median (values: readonly number[]): number {
  return percentile(values, 50)
}

/** @param rank 0 to 100; between two values it is interpolated linearly */
export function percentile (values: readonly number[], rank: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const position = (sorted.length - 1) * rank / 100
  const below = sorted[Math.floor(position)] ?? 0
  const above = sorted[Math.ceil(position)] ?? 0
  return below + (above - below) * (position - Math.floor(position))
}
