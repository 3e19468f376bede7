import { KVCacheConfigError } from './errors.ts'

export interface KVCacheConfig {
  readonly numBlocks: number
  /** Tokens per block: a power of two, 1..256. */
  readonly blockSize: number
  /** Whether finished and running sequences' full blocks serve later sequences with the same tokens. */
  readonly prefixCaching: boolean
}

export const KV_CACHE_DEFAULTS = {
  // Large enough that block tables stay short (512 entries at 8,192 tokens), small enough that half a block wasted per
  // sequence is nothing and that prompts which part ways early still share most of their prefix.
  blockSize: 16,
  // Verified hits cannot change a result, and a miss costs one hash per block.
  prefixCaching: true
} as const

/** Applies the defaults. @throws KVCacheConfigError on a count or size no cache can have. */
export function kvCacheConfig (
  options: Pick<KVCacheConfig, 'numBlocks'> & Partial<KVCacheConfig>
): KVCacheConfig {
  const config: KVCacheConfig = { ...KV_CACHE_DEFAULTS, ...options }
  const { numBlocks, blockSize } = config
  if (!Number.isInteger(numBlocks) || numBlocks < 1) {
    throw new KVCacheConfigError(`a KV cache has at least one block, not ${numBlocks}`, { numBlocks })
  }
  if (!Number.isInteger(blockSize) || blockSize < 1 || blockSize > 256 || (blockSize & (blockSize - 1)) !== 0) {
    throw new KVCacheConfigError(`block size is a power of two from 1 to 256, not ${blockSize}`, { blockSize })
  }
  return config
}
