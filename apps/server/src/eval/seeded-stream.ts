/**
 * A stream of random choices that depends on its labels only: the same document for the same seed, task and number, on every machine,
 * whichever other tasks run. The generator is sfc32, seeded from an FNV-1a hash of the labels.
 */
export class SeededStream {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor (...labels: ReadonlyArray<string | number>) {
    const text = labels.join('/')
    this.#a = hash(`a${text}`)
    this.#b = hash(`b${text}`)
    this.#c = hash(`c${text}`)
    for (let round = 0; round < 12; round++) this.#next()
  }

  /** In [0, 1). */
  uniform (): number {
    return this.#next() / 2 ** 32
  }

  /** Both ends included. */
  integer (low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1))
  }

  chance (probability: number): boolean {
    return this.uniform() < probability
  }

  /** @throws RangeError for an empty list. */
  pick<T> (values: readonly T[]): T {
    const value = values[this.integer(0, values.length - 1)]
    if (value === undefined) throw new RangeError('cannot pick from nothing')
    return value
  }

  /** `count` different positions' values, in random order. */
  sample<T> (values: readonly T[], count: number): T[] {
    const left = [...values]
    return Array.from({ length: Math.min(count, left.length) }, () => left.splice(this.integer(0, left.length - 1), 1)).flat()
  }

  #next (): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }
}

function hash (text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value
}
