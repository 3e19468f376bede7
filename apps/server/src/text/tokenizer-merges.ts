/**
 * Byte-pair merging over token ids: of all neighbours that the table can merge, the pair with the lowest rank goes first, the leftmost of
 * equal ones, until none is left. The order is that of Hugging Face's tokenizers (and of Sennrich et al., 2016); the work is
 * O(n log n) for a word of n symbols, so that a text without a single space is no worse than any other.
 */

const EMPTY = -1
/** A queue entry is `rank · POSITIONS + position`: exact in a double below 2²¹ merges. */
const POSITIONS = 2 ** 32
/** Arrays for longer words are given back at once: they may be hundreds of times what the next word needs. */
const KEPT_SYMBOLS = 2 ** 18

/** Which neighbours merge, in which order, and to what: a hash table with open addressing over typed arrays. */
export class MergeTable {
  readonly #mask: number
  readonly #left: Int32Array
  readonly #right: Int32Array
  readonly #rank: Int32Array
  readonly #merged: Int32Array

  /** Room for `numMerges`; a `Merger` wants less than 2²¹. */
  constructor (numMerges: number) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(2, numMerges * 2)))
    this.#mask = capacity - 1
    this.#left = new Int32Array(capacity).fill(EMPTY)
    this.#right = new Int32Array(capacity)
    this.#rank = new Int32Array(capacity)
    this.#merged = new Int32Array(capacity)
  }

  /** `left` and `right` become `merged`. Of two merges of one pair the later counts. */
  add (left: number, right: number, rank: number, merged: number): void {
    const slot = this.#slotOf(left, right)
    this.#left[slot] = left
    this.#right[slot] = right
    this.#rank[slot] = rank
    this.#merged[slot] = merged
  }

  /** The slot of a pair; -1 where the two do not merge. */
  find (left: number, right: number): number {
    const slot = this.#slotOf(left, right)
    return this.#left[slot] === EMPTY ? -1 : slot
  }

  rankAt (slot: number): number {
    return this.#rank[slot] ?? 0
  }

  mergedAt (slot: number): number {
    return this.#merged[slot] ?? 0
  }

  #slotOf (left: number, right: number): number {
    let slot = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b))
    slot = (slot ^ (slot >>> 15)) & this.#mask
    while (this.#left[slot] !== EMPTY && (this.#left[slot] !== left || this.#right[slot] !== right)) slot = (slot + 1) & this.#mask
    return slot
  }
}

/** Merges words one after another; its arrays grow with the words and are used again. */
export class Merger {
  readonly #table: MergeTable
  #queue = new MinQueue()
  #next = new Int32Array(0)
  #previous = new Int32Array(0)

  constructor (table: MergeTable) {
    this.#table = table
  }

  /**
   * Merges the first `count` of `symbols` in place and returns how many are left.
   * @param forbidden ids that no merge may make, one flag each
   */
  merge (symbols: Int32Array, count: number, forbidden?: Uint8Array): number {
    if (count < 2) return count
    this.#link(count)
    for (let at = 0; at + 1 < count; at++) this.#offer(symbols, at, at + 1, forbidden)
    while (!this.#queue.isEmpty) this.#apply(symbols, count, this.#queue.take(), forbidden)
    let kept = 0
    for (let at = 0; at < count; at = this.#next[at] ?? count) symbols[kept++] = symbols[at] ?? 0
    if (count > KEPT_SYMBOLS) {
      this.#next = this.#previous = new Int32Array(0)
      this.#queue = new MinQueue()
    }
    return kept
  }

  /** A queued pair may be gone by now: then its place holds another pair, or none, and another rank. */
  #apply (symbols: Int32Array, count: number, entry: number, forbidden: Uint8Array | undefined): void {
    const rank = Math.floor(entry / POSITIONS)
    const at = entry - rank * POSITIONS
    const right = this.#next[at] ?? count
    if (right >= count) return
    const slot = this.#table.find(symbols[at] ?? EMPTY, symbols[right] ?? EMPTY)
    if (slot < 0 || this.#table.rankAt(slot) !== rank) return
    symbols[at] = this.#table.mergedAt(slot)
    symbols[right] = EMPTY
    const after = this.#next[right] ?? count
    this.#next[at] = after
    this.#next[right] = count
    if (after < count) {
      this.#previous[after] = at
      this.#offer(symbols, at, after, forbidden)
    }
    const before = this.#previous[at] ?? -1
    if (before >= 0) this.#offer(symbols, before, at, forbidden)
  }

  #offer (symbols: Int32Array, at: number, next: number, forbidden: Uint8Array | undefined): void {
    const slot = this.#table.find(symbols[at] ?? EMPTY, symbols[next] ?? EMPTY)
    if (slot >= 0 && forbidden?.[this.#table.mergedAt(slot)] !== 1) this.#queue.add(this.#table.rankAt(slot) * POSITIONS + at)
  }

  #link (count: number): void {
    if (this.#next.length < count) {
      const room = Math.max(count, Math.min(count * 2, KEPT_SYMBOLS))
      this.#next = new Int32Array(room)
      this.#previous = new Int32Array(room)
    }
    for (let at = 0; at < count; at++) {
      this.#next[at] = at + 1
      this.#previous[at] = at - 1
    }
  }
}

/** A binary heap of numbers, smallest first. */
class MinQueue {
  #heap = new Float64Array(64)
  #size = 0

  get isEmpty (): boolean {
    return this.#size === 0
  }

  add (entry: number): void {
    if (this.#size === this.#heap.length) this.#grow()
    const heap = this.#heap
    let at = this.#size++
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] ?? 0
      if (above <= entry) break
      heap[at] = above
      at = parent
    }
    heap[at] = entry
  }

  /** Only of a queue that is not empty. */
  take (): number {
    const heap = this.#heap
    const first = heap[0] ?? 0
    const size = --this.#size
    const last = heap[size] ?? 0
    let at = 0
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child++
      const below = heap[child] ?? 0
      if (below >= last) break
      heap[at] = below
      at = child
    }
    heap[at] = last
    return first
  }

  #grow (): void {
    const grown = new Float64Array(this.#heap.length * 2)
    grown.set(this.#heap)
    this.#heap = grown
  }
}
