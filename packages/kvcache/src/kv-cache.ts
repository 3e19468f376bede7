import { blockId, blocksFor } from './block.ts'
import type { BlockId, BlockTable, SequenceId, TokenId } from './block.ts'
import { BlockPool } from './block-pool.ts'
import { growTable } from './block-table.ts'
import type { KVBlockMove, SequenceBlocks } from './block-table.ts'
import type { BlockHasher } from './block-hash.ts'
import type { KVCacheConfig } from './config.ts'
import { elementAt } from './element-at.ts'
import { KVCacheInvariantError } from './errors.ts'
import { PendingMoves } from './pending-moves.ts'
import { PrefixCache } from './prefix-cache.ts'
import { SwapSpace } from './swap-space.ts'
import type { KVBlockSwap } from './swap-space.ts'

/** Leading blocks another sequence computed, and the tokens in them: always full blocks, never the whole prompt. */
export interface PrefixMatch { readonly blocks: readonly BlockId[]; readonly numTokens: number }

const NO_MATCH: PrefixMatch = { blocks: [], numTokens: 0 }

export interface AdmitOptions {
  /** Sequences share blocks only with those of the same salt. */
  readonly salt?: string
  /** False computes every token anew, as prompt scoring needs; the result is shareable all the same. */
  readonly reusePrefix?: boolean
  /** Free blocks that must remain for the growth of those already admitted. */
  readonly reserveBlocks?: number
  /** What `matchPrefix` has just found for these tokens and this salt; absent: it is looked up. */
  readonly match?: PrefixMatch | undefined
}

export interface KVCacheStats {
  readonly numBlocks: number
  readonly numFree: number
  /** Blocks held by sequences. */
  readonly numUsed: number
  /** Blocks with a prefix entry, held or free. */
  readonly numCached: number
  /** Tokens of sequences admitted with prefix reuse since start, and how many of them were found. */
  readonly queries: number
  readonly hits: number
  readonly numHostSlots: number
  /** Slots of the groups that hold blocks of swapped sequences, or are about to. */
  readonly numHostSlotsUsed: number
  /** Blocks copied to the host and back since start. */
  readonly numSwappedOut: number
  readonly numSwappedIn: number
}

/**
 * Which physical blocks each sequence's tokens live in. Pure accounting: it moves no data and knows no device; it plans
 * copies (`takeMoves`) that the next step performs. Not reentrant, synchronous throughout.
 *
 * Sharing relies on steps running in order: a block may be shared as soon as the step that fills it has been scheduled,
 * and reused as soon as its last holder is gone, because whatever reads it next runs later.
 */
export class KVCache {
  readonly config: KVCacheConfig
  readonly #pool: BlockPool
  readonly #prefixes: PrefixCache
  readonly #moves: PendingMoves
  readonly #sequences = new Map<SequenceId, SequenceBlocks>()
  readonly #salts = new Map<SequenceId, string>()
  readonly #host: SwapSpace
  #queries = 0
  #hits = 0

  constructor (config: KVCacheConfig, hasher?: BlockHasher) {
    this.config = config
    this.#pool = new BlockPool(config.numBlocks)
    this.#prefixes = new PrefixCache(config.numBlocks, config.blockSize, hasher)
    this.#moves = new PendingMoves(this.#pool)
    this.#host = new SwapSpace(config.numHostSlots, config.hostGroupSize)
  }

  get stats (): KVCacheStats {
    const { numBlocks, numFree } = this.#pool
    return {
      numBlocks,
      numFree,
      numUsed: numBlocks - numFree,
      numCached: this.#prefixes.size,
      queries: this.#queries,
      hits: this.#hits,
      numHostSlots: this.#host.numSlots,
      numHostSlotsUsed: this.#host.numUsed,
      numSwappedOut: this.#host.numOut,
      numSwappedIn: this.#host.numIn
    }
  }

  get numFree (): number {
    return this.#pool.numFree
  }

  /** Sequences that hold device blocks. */
  get numSequences (): number {
    return this.#sequences.size
  }

  /** Sequences that hold host slots in their place. */
  get numSwapped (): number {
    return this.#host.numSequences
  }

  /** Copies from the host that `takeSwapIns` would hand out now. */
  get numSwapInsPlanned (): number {
    return this.#host.numInsPlanned
  }

  /** What `admit` would reuse; changes nothing. */
  matchPrefix (tokens: readonly TokenId[], salt?: string): PrefixMatch {
    const { blockSize, prefixCaching } = this.config
    if (!prefixCaching) return NO_MATCH
    const blocks: BlockId[] = []
    let parent = this.#prefixes.root(salt)
    // All but the last token: at least one must be computed to yield logits.
    for (let start = 0; start + blockSize < tokens.length; start += blockSize) {
      const hit = this.#prefixes.find(parent, tokens, start)
      if (hit === undefined) break
      blocks.push(hit.block)
      parent = hit
    }
    return { blocks, numTokens: blocks.length * blockSize }
  }

  /**
   * Takes blocks for all of `tokens`: those already computed, and new ones for the rest.
   * @returns undefined, with nothing taken, when too few blocks are free.
   */
  admit (id: SequenceId, tokens: readonly TokenId[], options: AdmitOptions = {}): PrefixMatch | undefined {
    const { salt, reusePrefix = true, reserveBlocks = 0 } = options
    this.#refuseKnown(id)
    const match = reusePrefix ? options.match ?? this.matchPrefix(tokens, salt) : NO_MATCH
    if (!this.#take(id, tokens.length, match, salt, reserveBlocks)) return undefined
    if (reusePrefix) {
      this.#queries += tokens.length
      this.#hits += match.numTokens
    }
    return match
  }

  /** How many blocks `swapOut` would copy for a sequence's first `numTokens`; 0 when it cannot keep them. */
  swapSize (id: SequenceId, numTokens: number): number {
    const table = this.#sequence(id).table.slice(0, blocksFor(numTokens, this.config.blockSize))
    // Before the step's own copies there is nothing in these to keep.
    if (table.some(block => this.#host.isAwaited(block) || this.#moves.fills(block))) return 0
    const size = table.length - this.#numShared(id, numTokens)
    return this.#host.fits(size) ? size : 0
  }

  /**
   * Gives back all of a sequence's blocks, as `release` does, and has what would be lost copied to the host first: all but the
   * leading full blocks that others hold too and that the prefix cache finds again.
   * @param numTokens positions computed by the steps scheduled so far
   * @returns false, with nothing changed, when the host has no room or there is nothing to copy
   */
  swapOut (id: SequenceId, numTokens: number): boolean {
    const size = this.swapSize(id, numTokens)
    if (size === 0) return false
    const { table } = this.#sequence(id)
    const numCopied = blocksFor(numTokens, this.config.blockSize)
    const numLeft = numCopied - size
    this.#host.add(id, table.slice(numLeft, numCopied), { numTokens, numLeft, salt: this.#salts.get(id) })
    this.release(id)
    return true
  }

  /** The step that carries this sequence to the host has completed: `swapIn` may bring it back. */
  isSwappedOut (id: SequenceId): boolean {
    return this.#host.isComplete(id)
  }

  /** Blocks that `swapIn` would copy; fewer where the prefix cache has some of them still. 0 for a sequence that is not swapped out. */
  maxSwapInSize (id: SequenceId): number {
    return this.#host.get(id)?.slots.length ?? 0
  }

  /**
   * Admits a sequence that was swapped out, with blocks for all of `tokens`: those cached, those copied back from the host, and new
   * ones for the rest. When what was left to the prefix cache is no longer there, the host's part is given up, and this is `admit`.
   * @returns what need not be computed, or undefined, with nothing changed, when too few blocks are free
   */
  swapIn (id: SequenceId, tokens: readonly TokenId[], reserveBlocks = 0): PrefixMatch | undefined {
    const swapped = this.#host.get(id)
    if (swapped === undefined) throw new KVCacheInvariantError('sequence is not swapped out', { id })
    this.#refuseKnown(id)
    const { salt, numLeft } = swapped
    const match = this.matchPrefix(tokens, salt)
    const numCached = match.blocks.length
    if (!this.#take(id, tokens.length, match, salt, reserveBlocks)) return undefined
    if (numCached < numLeft) {
      this.#host.forget(id)
      return match
    }
    this.#host.remove(id, this.#sequence(id).table.slice(numCached, blocksFor(swapped.numTokens, this.config.blockSize)))
    return { blocks: match.blocks, numTokens: Math.max(match.numTokens, swapped.numTokens) }
  }

  /** Gives up what a sequence has in host memory, if anything; it is then computed anew. */
  forgetSwapped (id: SequenceId): void {
    this.#host.forget(id)
  }

  /**
   * Starts `childId` with the parent's first `numTokens` tokens, which must all be scheduled by now. The blocks are shared,
   * a partly used last one included: whoever writes into that first gets a copy.
   */
  fork (parentId: SequenceId, childId: SequenceId, numTokens: number): BlockTable {
    const parent = this.#sequence(parentId)
    this.#refuseKnown(childId)
    if (numTokens > parent.numTokens) {
      throw new KVCacheInvariantError('fork past the end of its parent', { parentId, numTokens, parentTokens: parent.numTokens })
    }
    const table = parent.table.slice(0, blocksFor(numTokens, this.config.blockSize))
    this.#pool.share(table)
    const prefixes = parent.prefixes.slice(0, Math.floor(numTokens / this.config.blockSize))
    this.#sequences.set(childId, { table, numTokens, prefixes })
    const salt = this.#salts.get(parentId)
    if (salt !== undefined) this.#salts.set(childId, salt)
    return table
  }

  /**
   * Makes positions up to `numTokens` writable by this sequence alone.
   * @returns its block table, or undefined, with nothing changed, when too few blocks are free.
   */
  grow (id: SequenceId, numTokens: number): BlockTable | undefined {
    const sequence = this.#sequence(id)
    if (numTokens <= sequence.numTokens) return sequence.table
    const growth = growTable(sequence, numTokens, this.config.blockSize, this.#pool)
    if (growth === undefined) return undefined
    this.#prepareForWriting(sequence, growth.table)
    if (growth.move !== undefined) {
      this.#moves.add(growth.move)
      this.#pool.release([growth.move.from])
    }
    sequence.table = growth.table
    sequence.numTokens = numTokens
    return growth.table
  }

  /** The sequence's current blocks; the array never changes. */
  blockTable (id: SequenceId): BlockTable {
    return this.#sequence(id).table
  }

  /**
   * Makes full blocks shareable. Only tokens whose values are known can be hashed, and only scheduled ones are in place.
   * @param tokens all of the sequence's tokens known so far, from position 0
   * @param numComputed positions computed by the steps scheduled so far
   */
  commit (id: SequenceId, tokens: readonly TokenId[], numComputed: number): void {
    if (!this.config.prefixCaching) return
    const { blockSize } = this.config
    const { prefixes, table } = this.#sequence(id)
    const numFull = Math.floor(Math.min(tokens.length, numComputed) / blockSize)
    for (let i = prefixes.length; i < numFull; i++) {
      const parent = prefixes[i - 1] ?? this.#prefixes.root(this.#salts.get(id))
      prefixes.push(this.#prefixes.insert(parent, tokens, i * blockSize, elementAt(table, i)))
    }
  }

  /** Gives back all of a sequence's blocks; cached ones stay findable until they are evicted, its last block first. */
  release (id: SequenceId): void {
    const { table } = this.#sequence(id)
    this.#sequences.delete(id)
    this.#salts.delete(id)
    this.#pool.release(table.filter(block => !this.#prefixes.has(block)), 'first')
    // A block is of no use without those before it, so the chain is evicted from its end.
    this.#pool.release(table.filter(block => this.#prefixes.has(block)).reverse())
    this.#moves.dropUnheld()
    this.#host.dropIns(block => this.#pool.referenceCount(block) > 0)
  }

  /** The copies within the device that the next step must do before it computes, in any order. Empties the list. */
  takeMoves (): readonly KVBlockMove[] {
    return this.#moves.take()
  }

  /** The copies to the host that the next step must do before anything else. Empties the list; `swapsArrived` takes it back. */
  takeSwapOuts (): readonly KVBlockSwap[] {
    return this.#host.takeOuts()
  }

  /** The copies from the host that the next step must do between those to the host and the moves. Empties the list. */
  takeSwapIns (): readonly KVBlockSwap[] {
    return this.#host.takeIns()
  }

  /** The result of the step that did these copies to the host has come. */
  swapsArrived (outs: readonly KVBlockSwap[]): void {
    this.#host.arrived(outs)
  }

  /** @throws KVCacheInvariantError unless counts, tables, entries and the free list agree. Linear in everything held. */
  checkInvariants (): void {
    this.#pool.checkInvariants()
    this.#prefixes.checkInvariants()
    this.#host.checkInvariants()
    const holders = new Int32Array(this.config.numBlocks)
    for (const { from } of this.#moves.pending) holders[from] = elementAt(holders, from) + 1
    for (const [id, { table, numTokens }] of this.#sequences) {
      if (table.length !== blocksFor(numTokens, this.config.blockSize)) {
        throw new KVCacheInvariantError('table does not fit its tokens', { id, numTokens, blocks: table.length })
      }
      for (const block of table) holders[block] = elementAt(holders, block) + 1
    }
    for (const [block, count] of holders.entries()) {
      const references = this.#pool.referenceCount(blockId(block))
      if (references !== count) throw new KVCacheInvariantError('block held by nobody known', { block, references, holders: count })
    }
  }

  /** Holds the matched blocks and new ones for the rest of a sequence. @returns false, with nothing taken, when too few are free */
  #take (id: SequenceId, numTokens: number, { blocks }: PrefixMatch, salt: string | undefined, reserveBlocks: number): boolean {
    const numNew = blocksFor(numTokens, this.config.blockSize) - blocks.length
    const numRevived = blocks.filter(block => this.#pool.referenceCount(block) === 0).length
    if (this.#pool.numFree < numRevived + numNew + reserveBlocks) return false
    // Throws where a match is out of date, and nothing has been taken yet.
    const prefixes = blocks.map(block => this.#prefixes.endingWith(block))
    // Before allocating: a matched block that is free could otherwise be evicted for this very sequence.
    this.#pool.share(blocks)
    // In the order in which they lie: neighbours are copied in one piece, should it come to that.
    const taken = (this.#pool.allocate(numNew) ?? []).sort((a, b) => a - b)
    const table = [...blocks, ...this.#evictFor(taken)]
    this.#sequences.set(id, { table, numTokens, prefixes })
    if (salt !== undefined) this.#salts.set(id, salt)
    return true
  }

  /** Leading full blocks that others hold as well and that can be found by their tokens. */
  #numShared (id: SequenceId, numTokens: number): number {
    const { table, prefixes } = this.#sequence(id)
    const numFull = Math.min(prefixes.length, Math.floor(numTokens / this.config.blockSize))
    let count = 0
    while (count < numFull) {
      const block = elementAt(table, count)
      if (this.#pool.referenceCount(block) === 1 || !this.#prefixes.has(block)) break
      count++
    }
    return count
  }

  /** New blocks are about to be overwritten, and so is a partial block whose other holders have gone since it was shared. */
  #prepareForWriting (sequence: SequenceBlocks, table: BlockTable): void {
    for (let i = Math.floor(sequence.numTokens / this.config.blockSize); i < table.length; i++) this.#prefixes.forget(elementAt(table, i))
  }

  #evictFor (blocks: readonly BlockId[]): readonly BlockId[] {
    for (const block of blocks) this.#prefixes.forget(block)
    return blocks
  }

  #sequence (id: SequenceId): SequenceBlocks {
    const sequence = this.#sequences.get(id)
    if (sequence === undefined) throw new KVCacheInvariantError('sequence holds no blocks', { id })
    return sequence
  }

  #refuseKnown (id: SequenceId): void {
    if (this.#sequences.has(id)) throw new KVCacheInvariantError('sequence already holds blocks', { id })
  }
}
