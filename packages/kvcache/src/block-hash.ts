import type { TokenId } from './block.ts'
import { elementAt } from './element-at.ts'

/** Hashes one full block, chained to its parent's hash. The result is any 32-bit integer. */
export type BlockHasher = (parentHash: number, tokens: readonly TokenId[], start: number, blockSize: number) => number

const MULTIPLIER = 0x9e3779b1 // 2³² divided by the golden ratio, odd: spreads small token ids over all 32 bits

function mix (hash: number, value: number): number {
  const product = Math.imul(hash ^ value, MULTIPLIER)
  return product ^ (product >>> 15)
}

/**
 * One 32-bit lane of integer multiplies: no BigInt, no allocation. It only has to find candidates quickly, since the
 * prefix cache compares tokens and parents before it believes a hit.
 */
export const hashBlock: BlockHasher = (parentHash, tokens, start, blockSize) => {
  let hash = parentHash
  for (let i = start; i < start + blockSize; i++) hash = mix(hash, elementAt(tokens, i))
  return hash
}

/** Where a chain starts: sequences with different salts share nothing. */
export function hashSalt (salt: string): number {
  let hash = MULTIPLIER | 0
  for (let i = 0; i < salt.length; i++) hash = mix(hash, salt.charCodeAt(i))
  return hash
}
