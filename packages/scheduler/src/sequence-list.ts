import type { Sequence } from './sequence.ts'

/** Sequences in scheduling order, first to be served first. A sorted array: short, and walked far oftener than changed. */
export class SequenceList implements Iterable<Sequence> {
  #sequences: Sequence[] = []
  /** A walk may hold the array: the next change makes it a new one. */
  #isWalked = false

  get size (): number {
    return this.#sequences.length
  }

  /** The walk sees the list as it was when it began. */
  [Symbol.iterator] (): Iterator<Sequence> {
    this.#isWalked = true
    return this.#sequences[Symbol.iterator]()
  }

  add (sequence: Sequence): void {
    this.#ownSequences().splice(this.#numBefore(sequence), 0, sequence)
  }

  delete (sequence: Sequence): void {
    const at = this.#numBefore(sequence)
    if (this.#sequences[at] === sequence) this.#ownSequences().splice(at, 1)
  }

  some (predicate: (sequence: Sequence) => boolean): boolean {
    return this.#sequences.some(predicate)
  }

  findLast (predicate: (sequence: Sequence) => boolean): Sequence | undefined {
    return this.#sequences.findLast(predicate)
  }

  #ownSequences (): Sequence[] {
    if (this.#isWalked) this.#sequences = [...this.#sequences]
    this.#isWalked = false
    return this.#sequences
  }

  #numBefore (sequence: Sequence): number {
    let low = 0
    let high = this.#sequences.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sequences[middle]?.precedes(sequence) === true) low = middle + 1
      else high = middle
    }
    return low
  }
}
