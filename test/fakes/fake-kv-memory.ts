import assert from 'node:assert/strict'
import type { BlockTable, HostSlot, KVBlockMove, KVBlockSwap, TokenId } from '@daybreak/kvcache'

/** What a device's KV buffers hold, except that K and V of a token are the token itself and its position. */
export class FakeKVMemory {
  readonly #blockSize: number
  readonly #tokens: Int32Array
  readonly #positions: Int32Array
  /** What host slots hold, as copies made when the step ran. */
  readonly #slots = new Map<HostSlot, { readonly tokens: Int32Array, readonly positions: Int32Array }>()

  constructor (numBlocks: number, blockSize: number) {
    this.#blockSize = blockSize
    this.#tokens = new Int32Array(numBlocks * blockSize).fill(-1)
    this.#positions = new Int32Array(numBlocks * blockSize).fill(-1)
  }

  /** Does the moves as a device may: all at once, so none may depend on another. */
  move (moves: readonly KVBlockMove[]): void {
    const targets = new Set(moves.map(({ to }) => to))
    assert.equal(targets.size, moves.length, 'two moves into one block')
    for (const { from, to } of moves) {
      assert.ok(!targets.has(from), `block ${from} is both source and target`)
      this.#tokens.copyWithin(to * this.#blockSize, from * this.#blockSize, (from + 1) * this.#blockSize)
      this.#positions.copyWithin(to * this.#blockSize, from * this.#blockSize, (from + 1) * this.#blockSize)
    }
  }

  swapOut (swaps: readonly KVBlockSwap[]): void {
    for (const { block, slot } of swaps) {
      const [start, end] = [block * this.#blockSize, (block + 1) * this.#blockSize]
      this.#slots.set(slot, { tokens: this.#tokens.slice(start, end), positions: this.#positions.slice(start, end) })
    }
  }

  swapIn (swaps: readonly KVBlockSwap[]): void {
    for (const { block, slot } of swaps) {
      const kept = this.#slots.get(slot)
      assert.ok(kept !== undefined, `slot ${slot} was never filled`)
      this.#tokens.set(kept.tokens, block * this.#blockSize)
      this.#positions.set(kept.positions, block * this.#blockSize)
    }
  }

  write (table: BlockTable, position: number, token: TokenId): void {
    const slot = this.#slot(table, position)
    this.#tokens[slot] = token
    this.#positions[slot] = position
  }

  /** The first `count` tokens as attention through this table sees them. */
  read (table: BlockTable, count: number): TokenId[] {
    return Array.from({ length: count }, (_, position) => {
      const slot = this.#slot(table, position)
      assert.equal(this.#positions[slot], position, `slot ${slot} does not hold position ${position}`)
      return this.#tokens[slot] ?? -1
    })
  }

  #slot (table: BlockTable, position: number): number {
    const block = table[Math.floor(position / this.#blockSize)]
    assert.ok(block !== undefined, `no block for position ${position}`)
    return block * this.#blockSize + position % this.#blockSize
  }
}
