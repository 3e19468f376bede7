/** Numbers and names that say what went wrong, by how much and against what. */
export type ErrorDetails = Readonly<Record<string, number | string>>

/** A block count or block size that no cache can have. */
export class KVCacheConfigError extends Error {
  override readonly name = 'KVCacheConfigError'
  readonly code = 'kv_cache_config'
  readonly details: ErrorDetails

  constructor (message: string, details: ErrorDetails) {
    super(message)
    this.details = details
  }
}

/** The accounting contradicts itself, or a caller broke its side of the contract: a bug, never load. */
export class KVCacheInvariantError extends Error {
  override readonly name = 'KVCacheInvariantError'
  readonly code = 'kv_cache_invariant'
  readonly details: ErrorDetails

  constructor (message: string, details: ErrorDetails) {
    super(`${message} ${JSON.stringify(details)}`)
    this.details = details
  }
}
