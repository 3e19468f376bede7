import { blockId, hostSlot } from '@daybreak/kvcache'
import type { ForwardBatch, ModelRunner } from './contract.ts'

/** Blocks that are measured with, where there are so many: some megabytes. */
const MOST_BLOCKS = 64

/**
 * Measures what copying one block one way takes, by copying some to the host and back, and again: the first time also pays for pages
 * and pipelines. What it leaves in the KV cache belongs to no sequence. Seconds.
 * @param numSlots of a group of slots, whole groups
 */
export async function measureBlockSeconds (runner: ModelRunner, numSlots: number): Promise<number> {
  const count = Math.min(MOST_BLOCKS, numSlots, runner.limits.numKVBlocks)
  const swaps = Array.from({ length: count }, (_, i) => ({ block: blockId(i), slot: hostSlot(i) }))
  const batch = (step: number): ForwardBatch => ({ step, sequences: [], moves: [], ...step % 2 === 0 ? { swapOuts: swaps } : { swapIns: swaps } })
  let seconds = 0
  for (let step = 0; step < 4; step++) {
    const { swapSeconds = 0 } = await runner.execute(batch(step))
    if (step >= 2) seconds += swapSeconds
  }
  return seconds / (2 * count)
}
