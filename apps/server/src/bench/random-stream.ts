/**
 * A seeded stream of random numbers, so that a benchmark can be repeated with the same prompts and arrivals.
 * The generator is sfc32 (Doty-Humphrey's Small Fast Counting generator, 128 bits of state).
 */
export class RandomStream {
  readonly #state: Uint32Array

  /** @param seed any integer; its lower 32 bits count */
  constructor (seed: number) {
    this.#state = Uint32Array.of(0, seed, 0x9e3779b9, 1)
    for (let i = 0; i < 16; i++) this.#next()
  }

  /** Uniform in [0, 1). */
  uniform (): number {
    return this.#next() / 2 ** 32
  }

  /** Uniform over `low … high`, both included. */
  integer (low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1))
  }

  /** Standard normal, by Box and Muller's transform. */
  normal (): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** Gamma with this shape and scale 1. @see Marsaglia and Tsang 2000, "A simple method for generating gamma variables" */
  gamma (shape: number): number {
    // Their method needs a shape of at least 1; a smaller one is the next larger one's draw, scaled by a uniform's power.
    if (shape < 1) return this.gamma(shape + 1) * (1 - this.uniform()) ** (1 / shape)
    const d = shape - 1 / 3
    const c = 1 / Math.sqrt(9 * d)
    for (;;) {
      const x = this.normal()
      const v = (1 + c * x) ** 3
      if (v > 0 && Math.log(1 - this.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v
    }
  }

  /** The same values in random order. */
  shuffled<T> (values: readonly T[]): T[] {
    const keyed = values.map(value => ({ value, key: this.uniform() }))
    return keyed.sort((a, b) => a.key - b.key).map(({ value }) => value)
  }

  #next (): number {
    const [a = 0, b = 0, c = 0, counter = 0] = this.#state
    const result = (a + b + counter) >>> 0
    this.#state[0] = b ^ (b >>> 9)
    this.#state[1] = c + (c << 3)
    this.#state[2] = ((c << 21) | (c >>> 11)) + result
    this.#state[3] = counter + 1
    return result
  }
}
