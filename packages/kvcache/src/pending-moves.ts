import type { BlockId } from './block.ts'
import type { BlockPool } from './block-pool.ts'
import type { KVBlockMove } from './block-table.ts'

/**
 * Copies waiting for the next step. Each holds its source until it is handed out, so that no block allocated for that step
 * can be a source: the copies are independent and may run in any order.
 */
export class PendingMoves {
  readonly #pool: BlockPool
  #moves: KVBlockMove[] = []

  constructor (pool: BlockPool) {
    this.#pool = pool
  }

  get pending (): readonly KVBlockMove[] {
    return this.#moves
  }

  /** A copy into this block has yet to be handed out. */
  fills (block: BlockId): boolean {
    return this.#moves.some(({ to }) => to === block)
  }

  add (move: KVBlockMove): void {
    // The copy of a block that is itself yet to be copied comes from the first source.
    const from = this.#moves.find(({ to }) => to === move.from)?.from ?? move.from
    this.#pool.share([from])
    this.#moves.push({ ...move, from })
  }

  /** Drops copies into blocks that have just lost their last holder. */
  dropUnheld (): void {
    if (this.#moves.length === 0) return
    const dropped = this.#moves.filter(({ to }) => this.#pool.referenceCount(to) === 0)
    if (dropped.length === 0) return
    this.#moves = this.#moves.filter(({ to }) => this.#pool.referenceCount(to) > 0)
    this.#pool.release(dropped.map(({ from }) => from))
  }

  take (): readonly KVBlockMove[] {
    const taken = this.#moves
    if (taken.length === 0) return taken
    this.#moves = []
    this.#pool.release(taken.map(({ from }) => from))
    return taken
  }
}
