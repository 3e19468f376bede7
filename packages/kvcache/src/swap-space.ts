import type { BlockId, HostSlot, SequenceId } from './block.ts'
import { hostSlot } from './block.ts'
import { elementAt } from './element-at.ts'
import { KVCacheInvariantError } from './errors.ts'
import { HostPool } from './host-pool.ts'

/** A block's bytes on their way between device and host; the batch that lists it says in which direction. */
export interface KVBlockSwap { readonly block: BlockId; readonly slot: HostSlot }

/** Where a sequence's computed tokens are while it holds no device blocks. */
export interface SwappedSequence {
  /** Tokens whose keys and values were computed. */
  readonly numTokens: number
  /** Leading blocks that were left to the prefix cache, because others held them; the slots keep those behind. */
  readonly numLeft: number
  /** Of groups that are this sequence's alone. */
  readonly slots: readonly HostSlot[]
  readonly salt: string | undefined
}

/** One sequence's blocks on their way, and the slots that are held for it. */
interface Transfer { readonly id: SequenceId; readonly swaps: readonly KVBlockSwap[]; readonly slots: readonly HostSlot[] }

/**
 * Host memory's share of the accounting: which sequences are out there, and the transfers.
 *
 * A transfer is first planned, then handed out with the step that does it. One to the host is under way until that step's result has
 * come (`arrived`), and its slots are neither read nor written again before; one to the device reads its slots before any step that is
 * handed out after it does anything.
 */
export class SwapSpace {
  readonly #pool: HostPool
  readonly #sequences = new Map<SequenceId, SwappedSequence>()
  /** Planned, and not handed out. */
  #outs: Transfer[] = []
  #ins: Transfer[] = []
  /** Slots whose bytes have not reached the host. */
  readonly #unfilled = new Set<HostSlot>()
  #numOut = 0
  #numIn = 0

  constructor (numSlots: number, groupSize: number) {
    this.#pool = new HostPool(numSlots, groupSize)
  }

  get numSlots (): number {
    return this.#pool.numSlots
  }

  get numUsed (): number {
    return this.#pool.numSlots - this.#pool.numFree
  }

  get numSequences (): number {
    return this.#sequences.size
  }

  /** Blocks handed out for the host since the start. */
  get numOut (): number {
    return this.#numOut
  }

  /** Blocks handed out for the device since the start. */
  get numIn (): number {
    return this.#numIn
  }

  /** Copies to the device that are planned and not handed out. */
  get numInsPlanned (): number {
    return this.#ins.reduce((sum, { swaps }) => sum + swaps.length, 0)
  }

  get (id: SequenceId): SwappedSequence | undefined {
    return this.#sequences.get(id)
  }

  /** There is room for another sequence of so many blocks. */
  fits (numBlocks: number): boolean {
    return this.#pool.fits(numBlocks)
  }

  /** All its bytes have reached the host. False for a sequence that is not here. */
  isComplete (id: SequenceId): boolean {
    return this.#sequences.get(id)?.slots.every(slot => !this.#unfilled.has(slot)) ?? false
  }

  /** Plans the blocks' way to the host. @returns false, with nothing changed, when there is no room */
  add (id: SequenceId, blocks: readonly BlockId[], rest: Omit<SwappedSequence, 'slots'>): boolean {
    if (this.#sequences.has(id)) throw new KVCacheInvariantError('sequence already swapped out', { id })
    const slots = this.#pool.allocate(blocks.length)
    if (slots === undefined) return false
    this.#pool.share(slots)
    for (const slot of slots) this.#unfilled.add(slot)
    this.#outs.push({ id, slots, swaps: slots.map((slot, i) => ({ block: elementAt(blocks, i), slot })) })
    this.#sequences.set(id, { ...rest, slots })
    return true
  }

  /** Plans the way back into `blocks`, one for each of the last slots; whatever the sequence had here is given back. */
  remove (id: SequenceId, blocks: readonly BlockId[]): void {
    const sequence = this.#sequences.get(id)
    if (sequence === undefined || !this.isComplete(id)) throw new KVCacheInvariantError('sequence is not swapped out', { id })
    const slots = sequence.slots.slice(sequence.slots.length - blocks.length)
    if (slots.length > 0) {
      this.#pool.share(slots)
      this.#ins.push({ id, slots, swaps: slots.map((slot, i) => ({ block: elementAt(blocks, i), slot })) })
    }
    this.forget(id)
  }

  /** Gives back what a sequence has here, if anything. Slots being written are free once they are. */
  forget (id: SequenceId): void {
    const sequence = this.#sequences.get(id)
    if (sequence === undefined) return
    this.#sequences.delete(id)
    this.#pool.release(sequence.slots)
    // What has not been handed out need not be copied any more.
    for (const { slots } of this.#outs.filter(out => out.id === id)) this.#fill(slots)
    this.#outs = this.#outs.filter(out => out.id !== id)
  }

  /** A transfer into this block has been planned and not handed out. */
  isAwaited (block: BlockId): boolean {
    return this.#ins.some(({ swaps }) => swaps.some(swap => swap.block === block))
  }

  /** Drops what is planned into blocks that have just lost their last holder. */
  dropIns (isHeld: (block: BlockId) => boolean): void {
    if (this.#ins.length === 0) return
    this.#ins = this.#ins.flatMap(transfer => {
      const swaps = transfer.swaps.filter(({ block }) => isHeld(block))
      if (swaps.length > 0) return [{ ...transfer, swaps }]
      this.#pool.release(transfer.slots)
      return []
    })
  }

  takeOuts (): readonly KVBlockSwap[] {
    const taken = this.#outs.flatMap(({ swaps }) => swaps)
    this.#outs = []
    this.#numOut += taken.length
    return taken
  }

  takeIns (): readonly KVBlockSwap[] {
    const taken = this.#ins.flatMap(({ swaps }) => swaps)
    for (const { slots } of this.#ins) this.#pool.release(slots)
    this.#ins = []
    this.#numIn += taken.length
    return taken
  }

  /** The result of the step that these were handed out with has come. */
  arrived (outs: readonly KVBlockSwap[]): void {
    this.#fill(outs.map(({ slot }) => slot))
  }

  /** @throws KVCacheInvariantError unless every slot is held by those it should be. Linear in the number of slots. */
  checkInvariants (): void {
    this.#pool.checkInvariants()
    const holders = new Int32Array(this.#pool.numGroups)
    const hold = (slots: Iterable<HostSlot>): void => {
      for (const group of new Set([...slots].map(slot => this.#pool.groupOf(slot)))) holders[group] = elementAt(holders, group) + 1
    }
    for (const { slots } of this.#sequences.values()) hold(slots)
    hold(this.#unfilled)
    for (const { slots } of this.#ins) hold(slots)
    for (const [group, count] of holders.entries()) {
      const references = this.#pool.referenceCount(hostSlot(group * this.#pool.groupSize))
      if (references !== count) throw new KVCacheInvariantError('host slots held by nobody known', { group, references, holders: count })
    }
    for (const { id, slots } of this.#outs) {
      if (!slots.every(slot => this.#unfilled.has(slot))) throw new KVCacheInvariantError('planned transfer of filled slots', { id })
    }
    for (const { id, slots } of this.#ins) {
      if (slots.some(slot => this.#unfilled.has(slot))) throw new KVCacheInvariantError('planned transfer from unfilled slots', { id })
    }
  }

  #fill (slots: readonly HostSlot[]): void {
    for (const slot of slots) {
      if (!this.#unfilled.delete(slot)) throw new KVCacheInvariantError('host slot filled that nobody writes', { slot })
    }
    this.#pool.release(slots)
  }
}
