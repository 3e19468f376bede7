import type { InspectOptions } from '@daybreak/engine'

/** Small limits, and no GPU is opened. */
export function inspectOptions (path: string, changes: Partial<InspectOptions> = {}): InspectOptions {
  return {
    model: { type: 'directory', path },
    dtype: 'auto',
    adapter: undefined,
    useAdapter: false,
    deviceBytes: undefined,
    blockSize: 16,
    kvCacheBytes: undefined,
    maxModelLen: undefined,
    maxSequences: 4,
    maxBatchedTokens: 128,
    ...changes
  }
}
