import { hashBlock, hashSalt } from './block-hash.ts'
import type { BlockHasher } from './block-hash.ts'
import { blockId } from './block.ts'
import type { BlockId, TokenId } from './block.ts'
import { elementAt } from './element-at.ts'
import { KVCacheInvariantError } from './errors.ts'

/**
 * A prefix: everything up to and including some full block. `identity` is never given to two different prefixes, so
 * equal identities mean equal tokens from the first one on; `hash` only finds candidates.
 */
export interface PrefixNode {
  readonly hash: number
  readonly identity: number
  /** Of a salted root only: all those have one identity, and their first blocks remember which salt they are under. */
  readonly salt: string | undefined
}

/** A prefix and the cached block that it ends with. */
export interface PrefixHit extends PrefixNode { readonly block: BlockId }

const NONE = -1
const UNSALTED_ROOT = 1
const SALTED_ROOT = 2

/**
 * Full blocks by content: a hash table over the block ids, chained through typed arrays.
 *
 * Each entry keeps its block's tokens and its parent's identity, and a lookup compares both: a hash collision costs a
 * comparison and never shares a wrong block. When a parent is evicted and later computed again it has a new identity, so
 * entries under the old one are no longer reachable and age out; that loses a hit, never correctness.
 */
export class PrefixCache {
  readonly #blockSize: number
  readonly #hasher: BlockHasher
  readonly #buckets: Int32Array
  readonly #nextInBucket: Int32Array
  readonly #hashes: Int32Array
  // 0: no entry. Doubles, because identities count up for as long as the process lives.
  readonly #identities: Float64Array
  readonly #parents: Float64Array
  readonly #tokens: Int32Array
  // The salts of first blocks under a salted root.
  readonly #salts = new Map<number, string>()
  #lastIdentity = SALTED_ROOT
  #size = 0

  constructor (numBlocks: number, blockSize: number, hasher: BlockHasher = hashBlock) {
    this.#blockSize = blockSize
    this.#hasher = hasher
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(numBlocks * 2))).fill(NONE)
    this.#nextInBucket = new Int32Array(numBlocks).fill(NONE)
    this.#hashes = new Int32Array(numBlocks)
    this.#identities = new Float64Array(numBlocks)
    this.#parents = new Float64Array(numBlocks)
    this.#tokens = new Int32Array(numBlocks * blockSize)
  }

  /** Number of blocks with an entry. */
  get size (): number {
    return this.#size
  }

  has (block: BlockId): boolean {
    return elementAt(this.#identities, block) !== 0
  }

  /** The empty prefix under a salt. */
  root (salt: string | undefined): PrefixNode {
    if (salt === undefined) return { hash: 0, identity: UNSALTED_ROOT, salt }
    return { hash: hashSalt(salt), identity: SALTED_ROOT, salt }
  }

  /** The prefix that ends with a cached block. */
  endingWith (block: BlockId): PrefixNode {
    if (!this.has(block)) throw new KVCacheInvariantError('block of no cached prefix', { block })
    return { hash: elementAt(this.#hashes, block), identity: elementAt(this.#identities, block), salt: undefined }
  }

  /** The cached block that continues `parent` with the `blockSize` tokens at `start`. */
  find (parent: PrefixNode, tokens: readonly TokenId[], start: number): PrefixHit | undefined {
    const hash = this.#hasher(parent.hash, tokens, start, this.#blockSize) | 0
    for (let at = elementAt(this.#buckets, this.#bucket(hash)); at !== NONE; at = elementAt(this.#nextInBucket, at)) {
      if (elementAt(this.#hashes, at) === hash && this.#continues(at, parent) && this.#holds(at, tokens, start)) {
        return { hash, identity: elementAt(this.#identities, at), salt: undefined, block: blockId(at) }
      }
    }
    return undefined
  }

  /**
   * Makes a full block findable. When an equal one already is, that one stays and this block gets no entry.
   * @returns the prefix that now ends with this block.
   */
  insert (parent: PrefixNode, tokens: readonly TokenId[], start: number, block: BlockId): PrefixNode {
    const known = this.find(parent, tokens, start)
    if (known !== undefined) return known
    if (this.has(block)) throw new KVCacheInvariantError('block cached under two contents', { block })
    const hash = this.#hasher(parent.hash, tokens, start, this.#blockSize) | 0
    const bucket = this.#bucket(hash)
    this.#nextInBucket[block] = elementAt(this.#buckets, bucket)
    this.#buckets[bucket] = block
    this.#hashes[block] = hash
    this.#identities[block] = ++this.#lastIdentity
    this.#parents[block] = parent.identity
    for (let i = 0; i < this.#blockSize; i++) this.#tokens[block * this.#blockSize + i] = elementAt(tokens, start + i)
    this.#size++
    if (parent.salt !== undefined) this.#salts.set(block, parent.salt)
    return { hash, identity: this.#lastIdentity, salt: undefined }
  }

  /** Removes a block's entry, if it has one: its content is about to be overwritten. */
  forget (block: BlockId): void {
    if (!this.has(block)) return
    const bucket = this.#bucket(elementAt(this.#hashes, block))
    const next = elementAt(this.#nextInBucket, block)
    const head = elementAt(this.#buckets, bucket)
    if (head === block) this.#buckets[bucket] = next
    else this.#nextInBucket[this.#before(head, block)] = next
    this.#salts.delete(block)
    this.#nextInBucket[block] = NONE
    this.#identities[block] = 0
    this.#size--
  }

  /** @throws KVCacheInvariantError when an entry cannot be reached through its bucket. Linear in the pool's size. */
  checkInvariants (): void {
    let numReached = 0
    for (let bucket = 0; bucket < this.#buckets.length; bucket++) {
      for (let at = elementAt(this.#buckets, bucket); at !== NONE; at = elementAt(this.#nextInBucket, at)) {
        const misplaced = elementAt(this.#identities, at) === 0 || this.#bucket(elementAt(this.#hashes, at)) !== bucket
        if (misplaced || ++numReached > this.#size) throw new KVCacheInvariantError('prefix entry misplaced', { block: at, bucket })
      }
    }
    let numEntries = 0
    for (const identity of this.#identities) if (identity !== 0) numEntries++
    if (numReached !== this.#size || numEntries !== this.#size) {
      throw new KVCacheInvariantError('prefix entries miscounted', { numReached, numEntries, size: this.#size })
    }
  }

  #bucket (hash: number): number {
    return hash & (this.#buckets.length - 1)
  }

  #before (head: number, block: number): number {
    let at = head
    while (elementAt(this.#nextInBucket, at) !== block) at = elementAt(this.#nextInBucket, at)
    return at
  }

  #continues (block: number, parent: PrefixNode): boolean {
    return elementAt(this.#parents, block) === parent.identity && this.#salts.get(block) === parent.salt
  }

  #holds (block: number, tokens: readonly TokenId[], start: number): boolean {
    const first = block * this.#blockSize
    for (let i = 0; i < this.#blockSize; i++) if (this.#tokens[first + i] !== tokens[start + i]) return false
    return true
  }
}
