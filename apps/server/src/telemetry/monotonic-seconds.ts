import { performance } from 'node:perf_hooks'

/** Seconds on this process's monotonic clock; never comparable with another process's. */
export const monotonicSeconds = (): number => performance.now() / 1000
