/**
 * A seeded stream of random numbers, the same on every machine: the generator is mulberry32 (32 bits of state, period 2³²),
 * enough for test data and nothing else.
 */
export class SeededRandom {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** Uniform in [0, 1), a multiple of 2⁻³². */
  uniform (): number {
    this.#state = this.#state + 0x6d2b79f5 >>> 0
    let bits = this.#state
    bits = Math.imul(bits ^ bits >>> 15, bits | 1)
    bits ^= bits + Math.imul(bits ^ bits >>> 7, bits | 61)
    return ((bits ^ bits >>> 14) >>> 0) / 2 ** 32
  }

  /** Uniform integer, `0 ≤ result < bound`. */
  integer (bound: number): number {
    return Math.floor(this.uniform() * bound)
  }

  /** Uniform integer, both ends included. */
  between (low: number, high: number): number {
    return low + this.integer(high - low + 1)
  }

  chance (probability: number): boolean {
    return this.uniform() < probability
  }

  /** One of the values, which must not be empty. */
  pick<T> (values: readonly T[]): T {
    const value = values[this.integer(values.length)]
    if (value === undefined) throw new RangeError('nothing to pick from')
    return value
  }

  /** Standard normal (Box-Muller). */
  normal (): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** `length` normals with mean 0 and deviation `scale`. */
  normals (length: number, scale = 1): Float64Array {
    return Float64Array.from({ length }, () => this.normal() * scale)
  }

  /** A shuffled copy: sorted by random keys. */
  shuffled<T> (values: readonly T[]): T[] {
    const keyed = values.map(value => ({ value, key: this.uniform() }))
    return keyed.sort((a, b) => a.key - b.key).map(({ value }) => value)
  }
}
