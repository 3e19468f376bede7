import { blockId, hostSlot } from './block.ts'
import type { BlockId, HostSlot } from './block.ts'
import { BlockPool } from './block-pool.ts'
import { elementAt } from './element-at.ts'

/**
 * Places for blocks in host memory, a bounded number of them, given out in groups: what is written together lies together, and moves in
 * few large pieces. Groups are counted as device blocks are. One is held by the swapped sequence whose blocks it keeps, and by every
 * transfer from or to it that is under way; it is free when nobody holds it.
 */
export class HostPool {
  readonly groupSize: number
  readonly #groups: BlockPool

  /** @param numSlots a multiple of `groupSize` */
  constructor (numSlots: number, groupSize: number) {
    this.groupSize = groupSize
    this.#groups = new BlockPool(numSlots / groupSize)
  }

  get numGroups (): number {
    return this.#groups.numBlocks
  }

  get numSlots (): number {
    return this.numGroups * this.groupSize
  }

  /** Slots of groups that nobody holds. */
  get numFree (): number {
    return this.#groups.numFree * this.groupSize
  }

  /** There are free groups for so many slots. */
  fits (count: number): boolean {
    return count <= this.numFree
  }

  /** Number of holders of the slot's group. */
  referenceCount (slot: HostSlot): number {
    return this.#groups.referenceCount(this.groupOf(slot))
  }

  groupOf (slot: HostSlot): BlockId {
    return blockId(Math.floor(slot / this.groupSize))
  }

  /** Takes groups for `count` slots, each with one holder; all or nothing. */
  allocate (count: number): HostSlot[] | undefined {
    // Those used last are taken first, so that no more of the host's memory is touched than is needed.
    const groups = this.#groups.allocate(Math.ceil(count / this.groupSize))?.sort((a, b) => a - b)
    if (groups === undefined) return undefined
    return Array.from({ length: count }, (_, i) => hostSlot(elementAt(groups, Math.floor(i / this.groupSize)) * this.groupSize + i % this.groupSize))
  }

  /** Adds one holder to each group that one of the slots is in. */
  share (slots: readonly HostSlot[]): void {
    this.#groups.share(this.#groupsOf(slots))
  }

  /** Removes one holder from each group that one of the slots is in. */
  release (slots: readonly HostSlot[]): void {
    this.#groups.release(this.#groupsOf(slots), 'first')
  }

  /** @throws KVCacheInvariantError. Linear in the pool's size. */
  checkInvariants (): void {
    this.#groups.checkInvariants()
  }

  #groupsOf (slots: readonly HostSlot[]): BlockId[] {
    return [...new Set(slots.map(slot => this.groupOf(slot)))]
  }
}
