import { KVCacheConfigError } from './errors.ts'

export interface KVCacheConfig {
  readonly numBlocks: number
  /** Tokens per block: a power of two, 1..256. */
  readonly blockSize: number
  /** Whether finished and running sequences' full blocks serve later sequences with the same tokens. */
  readonly prefixCaching: boolean
  /** Blocks that host memory has room for, for sequences that were swapped out; 0: none ever is. */
  readonly numHostSlots: number
  /** Slots of one group, which a swapped sequence has to itself; divides `numHostSlots`. */
  readonly hostGroupSize: number
}

export const KV_CACHE_DEFAULTS = {
  // Large enough that block tables stay short (512 entries at 8,192 tokens), small enough that half a block wasted per
  // sequence is nothing and that prompts which part ways early still share most of their prefix.
  blockSize: 16,
  // Verified hits cannot change a result, and a miss costs one hash per block.
  prefixCaching: true,
  numHostSlots: 0,
  hostGroupSize: 1
} as const

/** Applies the defaults. @throws KVCacheConfigError on a count or size no cache can have. */
export function kvCacheConfig (
  options: Pick<KVCacheConfig, 'numBlocks'> & Partial<KVCacheConfig>
): KVCacheConfig {
  const config: KVCacheConfig = { ...KV_CACHE_DEFAULTS, ...options }
  const { numBlocks, blockSize, numHostSlots, hostGroupSize } = config
  if (!Number.isInteger(numBlocks) || numBlocks < 1) {
    throw new KVCacheConfigError(`a KV cache has at least one block, not ${numBlocks}`, { numBlocks })
  }
  if (!Number.isInteger(blockSize) || blockSize < 1 || blockSize > 256 || (blockSize & (blockSize - 1)) !== 0) {
    throw new KVCacheConfigError(`block size is a power of two from 1 to 256, not ${blockSize}`, { blockSize })
  }
  if (!Number.isInteger(hostGroupSize) || hostGroupSize < 1) throw new KVCacheConfigError(`a group has at least one host slot, not ${hostGroupSize}`, { hostGroupSize })
  if (!Number.isInteger(numHostSlots / hostGroupSize) || numHostSlots < 0) {
    throw new KVCacheConfigError(`host slots come in groups of ${hostGroupSize}, which does not divide ${numHostSlots}`, { numHostSlots, hostGroupSize })
  }
  return config
}
