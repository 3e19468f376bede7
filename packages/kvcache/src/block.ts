/** A number or string that the compiler will not let us swap for another of the same representation. */
type Brand<T, B extends string> = T & { readonly __brand: B }

/** Index of a physical KV block, `0 ≤ id < numBlocks`. */
export type BlockId = Brand<number, 'BlockId'>
/** `blockId · blockSize + offset`: where one token's K and V live. */
export type Slot = Brand<number, 'Slot'>
/** Index of a block's place in host memory, `0 ≤ slot < numHostSlots`. */
export type HostSlot = Brand<number, 'HostSlot'>
/** Names one token stream (one choice of one request) for its whole life. */
export type SequenceId = Brand<string, 'SequenceId'>
export type TokenId = number
/** Logical block index → physical block, for one sequence. */
export type BlockTable = readonly BlockId[]

export const blockId = (value: number): BlockId => value as BlockId
export const hostSlot = (value: number): HostSlot => value as HostSlot
export const sequenceId = (value: string): SequenceId => value as SequenceId

/** Number of blocks that hold `numTokens` tokens. */
export function blocksFor (numTokens: number, blockSize: number): number {
  return Math.ceil(numTokens / blockSize)
}
