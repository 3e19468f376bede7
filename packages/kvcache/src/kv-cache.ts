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
import type { PrefixNode } from './prefix-cache.ts'

/** Leading blocks another sequence computed, and the tokens in them: always full blocks, never the whole prompt. */
export interface PrefixMatch { readonly blocks: readonly BlockId[]; readonly numTokens: number }

export interface AdmitOptions {
  /** Sequences share blocks only with those of the same salt. */
  readonly salt?: string
  /** False computes every token anew, as prompt scoring needs; the result is shareable all the same. */
  readonly reusePrefix?: boolean
  /** Free blocks that must remain for the growth of those already admitted. */
  readonly reserveBlocks?: number
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
  #queries = 0
  #hits = 0

  constructor (config: KVCacheConfig, hasher?: BlockHasher) {
    this.config = config
    this.#pool = new BlockPool(config.numBlocks)
    this.#prefixes = new PrefixCache(config.numBlocks, config.blockSize, hasher)
    this.#moves = new PendingMoves(this.#pool)
  }

  get stats (): KVCacheStats {
    const { numBlocks, numFree } = this.#pool
    return { numBlocks, numFree, numUsed: numBlocks - numFree, numCached: this.#prefixes.size, queries: this.#queries, hits: this.#hits }
  }

  get numFree (): number {
    return this.#pool.numFree
  }

  get numSequences (): number {
    return this.#sequences.size
  }

  /** What `admit` would reuse; changes nothing. */
  matchPrefix (tokens: readonly TokenId[], salt?: string): PrefixMatch {
    const { blocks } = this.#match(tokens, salt)
    return { blocks, numTokens: blocks.length * this.config.blockSize }
  }

  /**
   * Takes blocks for all of `tokens`: those already computed, and new ones for the rest.
   * @returns undefined, with nothing taken, when too few blocks are free.
   */
  admit (id: SequenceId, tokens: readonly TokenId[], options: AdmitOptions = {}): PrefixMatch | undefined {
    const { salt, reusePrefix = true, reserveBlocks = 0 } = options
    this.#refuseKnown(id)
    const { blocks, prefixes } = reusePrefix ? this.#match(tokens, salt) : { blocks: [], prefixes: [] }
    const numNew = blocksFor(tokens.length, this.config.blockSize) - blocks.length
    const numRevived = blocks.filter(block => this.#pool.referenceCount(block) === 0).length
    if (this.#pool.numFree < numRevived + numNew + reserveBlocks) return undefined
    // Before allocating: a matched block that is free could otherwise be evicted for this very sequence.
    this.#pool.share(blocks)
    const table = [...blocks, ...this.#evictFor(this.#pool.allocate(numNew) ?? [])]
    this.#sequences.set(id, { table, numTokens: tokens.length, prefixes })
    if (salt !== undefined) this.#salts.set(id, salt)
    if (reusePrefix) {
      this.#queries += tokens.length
      this.#hits += blocks.length * this.config.blockSize
    }
    return { blocks, numTokens: blocks.length * this.config.blockSize }
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
  }

  /** The copies the next step must do before anything else, in any order. Empties the list. */
  takeMoves (): readonly KVBlockMove[] {
    return this.#moves.take()
  }

  /** @throws KVCacheInvariantError unless counts, tables, entries and the free list agree. Linear in everything held. */
  checkInvariants (): void {
    this.#pool.checkInvariants()
    this.#prefixes.checkInvariants()
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

  #match (tokens: readonly TokenId[], salt: string | undefined): { blocks: BlockId[]; prefixes: PrefixNode[] } {
    const { blockSize, prefixCaching } = this.config
    const blocks: BlockId[] = []
    const prefixes: PrefixNode[] = []
    if (!prefixCaching) return { blocks, prefixes }
    let parent = this.#prefixes.root(salt)
    // All but the last token: at least one must be computed to yield logits.
    for (let start = 0; start + blockSize < tokens.length; start += blockSize) {
      const hit = this.#prefixes.find(parent, tokens, start)
      if (hit === undefined) break
      blocks.push(hit.block)
      prefixes.push(hit.node)
      parent = hit.node
    }
    return { blocks, prefixes }
  }

  /** New blocks are about to be overwritten, and so is a partial block whose other holders have gone since it was shared. */
  #prepareForWriting (sequence: SequenceBlocks, table: BlockTable): void {
    const firstWritten = Math.floor(sequence.numTokens / this.config.blockSize)
    this.#evictFor(table.slice(firstWritten))
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
