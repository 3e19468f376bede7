import { blockId } from './block.ts'
import type { BlockId } from './block.ts'
import { elementAt } from './element-at.ts'
import { KVCacheInvariantError } from './errors.ts'

/** `last`: keep the blocks' content as long as possible. `first`: nothing in them is worth keeping. */
export type EvictionOrder = 'first' | 'last'

/**
 * Reference counts of the physical blocks, and the free ones in eviction order.
 *
 * A block is free exactly when it has no holder. Free blocks keep their content until allocated again, so a cached one
 * can be taken back with `share`. All state lives in typed arrays made once: no step allocates memory here.
 */
export class BlockPool {
  readonly numBlocks: number
  readonly #references: Int32Array
  // The free list is circular and doubly linked through index `numBlocks`, which stands for both of its ends.
  readonly #next: Int32Array
  readonly #previous: Int32Array
  #numFree = 0

  constructor (numBlocks: number) {
    this.numBlocks = numBlocks
    this.#references = new Int32Array(numBlocks)
    this.#next = new Int32Array(numBlocks + 1).fill(-1)
    this.#previous = new Int32Array(numBlocks + 1).fill(-1)
    this.#next[numBlocks] = numBlocks
    this.#previous[numBlocks] = numBlocks
    for (let block = 0; block < numBlocks; block++) this.#linkAfter(elementAt(this.#previous, numBlocks), block)
  }

  get numFree (): number {
    return this.#numFree
  }

  /** Number of holders; 0 for a free block. */
  referenceCount (block: BlockId): number {
    return elementAt(this.#references, block)
  }

  /** Takes the `count` blocks that are first in eviction order, each with one holder; all or nothing. */
  allocate (count: number): BlockId[] | undefined {
    if (count > this.#numFree) return undefined
    const blocks: BlockId[] = []
    for (let i = 0; i < count; i++) {
      const block = elementAt(this.#next, this.numBlocks)
      this.#unlink(block)
      this.#references[block] = 1
      blocks.push(blockId(block))
    }
    return blocks
  }

  /** Adds one holder to each block; a free one leaves the free list with its content intact. */
  share (blocks: readonly BlockId[]): void {
    for (const block of blocks) {
      const references = this.referenceCount(block)
      if (references === 0) this.#unlink(block)
      this.#references[block] = references + 1
    }
  }

  /** Removes one holder from each block. Of the blocks that become free, the first listed is evicted first. */
  release (blocks: readonly BlockId[], order: EvictionOrder = 'last'): void {
    let anchor = order === 'last' ? elementAt(this.#previous, this.numBlocks) : this.numBlocks
    for (const block of blocks) {
      const references = this.referenceCount(block)
      if (references === 0) throw new KVCacheInvariantError('block released without a holder', { block })
      this.#references[block] = references - 1
      if (references > 1) continue
      this.#linkAfter(anchor, block)
      anchor = block
    }
  }

  /** @throws KVCacheInvariantError naming the first block whose count and links disagree. Linear in the pool's size. */
  checkInvariants (): void {
    let numListed = 0
    for (let at = elementAt(this.#next, this.numBlocks); at !== this.numBlocks; at = elementAt(this.#next, at)) {
      if (elementAt(this.#references, at) !== 0) throw new KVCacheInvariantError('held block in the free list', { block: at })
      if (elementAt(this.#previous, elementAt(this.#next, at)) !== at) throw new KVCacheInvariantError('free list torn', { block: at })
      if (++numListed > this.numBlocks) throw new KVCacheInvariantError('free list has a cycle', { block: at })
    }
    let numUnheld = 0
    for (const references of this.#references) if (references === 0) numUnheld++
    if (numListed !== this.#numFree || numListed !== numUnheld) {
      throw new KVCacheInvariantError('free blocks miscounted', { numListed, numFree: this.#numFree, numUnheld })
    }
  }

  #linkAfter (anchor: number, block: number): void {
    const next = elementAt(this.#next, anchor)
    this.#next[anchor] = block
    this.#previous[block] = anchor
    this.#next[block] = next
    this.#previous[next] = block
    this.#numFree++
  }

  #unlink (block: number): void {
    const next = elementAt(this.#next, block)
    const previous = elementAt(this.#previous, block)
    this.#next[previous] = next
    this.#previous[next] = previous
    this.#next[block] = -1
    this.#previous[block] = -1
    this.#numFree--
  }
}
