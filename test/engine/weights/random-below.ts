/** Seeded random integers, `0 ≤ result < limit`: a 32-bit linear congruential generator's upper bits, enough to damage files with. */
export function randomBelow (seed: number): (limit: number) => number {
  let state = seed >>> 0
  return limit => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * limit)
  }
}
