import type { BlockId, BlockTable } from './block.ts'
import { blocksFor } from './block.ts'
import type { BlockPool } from './block-pool.ts'
import { elementAt } from './element-at.ts'
import type { PrefixNode } from './prefix-cache.ts'

/** A block copy the next step must do before it computes, after its swaps. */
export interface KVBlockMove {
  readonly from: BlockId
  readonly to: BlockId
  readonly direction: 'copy-on-write'
}

/** One sequence's blocks. Tables are handed out and kept by batches in flight, so a changed table is a new array. */
export interface SequenceBlocks {
  table: BlockTable
  /** Positions below this are written, or have been promised to whoever computes them; growth writes behind it. */
  numTokens: number
  /** The prefixes of the leading blocks that have been committed. */
  readonly prefixes: PrefixNode[]
}

/** What a sequence gets when it grows: nothing, some new blocks, and perhaps a private copy of a shared partial block. */
export interface Growth { readonly table: BlockTable; readonly move: KVBlockMove | undefined }

/**
 * Room for `numTokens` in all. Only the block holding the first new position can be shared: those before are not written
 * again, and those behind were allocated to this sequence alone.
 *
 * @returns undefined, with nothing taken, when the pool has too few free blocks.
 */
export function growTable (blocks: SequenceBlocks, numTokens: number, blockSize: number, pool: BlockPool): Growth | undefined {
  const { table } = blocks
  const written = Math.floor(blocks.numTokens / blockSize)
  const shared = written < table.length && pool.referenceCount(elementAt(table, written)) > 1
  const numNew = Math.max(0, blocksFor(numTokens, blockSize) - table.length)
  if (!shared && numNew === 0) return { table, move: undefined }
  const taken = pool.allocate(numNew + (shared ? 1 : 0))
  if (taken === undefined) return undefined
  if (!shared) return { table: table.concat(taken), move: undefined }
  const from = elementAt(table, written)
  const to = elementAt(taken, 0)
  const copied = table.map(block => block === from ? to : block)
  return { table: [...copied, ...taken.slice(1)], move: { from, to, direction: 'copy-on-write' } }
}
