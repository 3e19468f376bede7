import type { KernelCeilings, KernelMeasurement } from '@daybreak/engine'

/** What a kernel cannot be faster than: moving its bytes, computing, or being started at all. */
export type KernelLimit = 'bytes' | 'flops' | 'dispatch'

/** A measurement against the ceilings of the same run. */
export interface KernelLimits {
  readonly bytesPerSecond: number
  /** Of the copy bandwidth. More than 1 is possible: copies write as much as they read, and what a kernel reads may lie in a cache. */
  readonly copyShare: number
  readonly flopsPerSecond: number
  /** Of the best product's rate. */
  readonly peakShare: number
  /** The one that takes longest at its ceiling. */
  readonly limit: KernelLimit
  readonly floorSeconds: number
  /** Measured over floor. */
  readonly overFloor: number
}

export function kernelLimits ({ seconds, bytes, flops }: Pick<KernelMeasurement, 'seconds' | 'bytes' | 'flops'>, ceilings: KernelCeilings): KernelLimits {
  const floors: ReadonlyArray<readonly [KernelLimit, number]> = [
    ['bytes', bytes / ceilings.copyBytesPerSecond],
    ['flops', flops / ceilings.productFlopsPerSecond],
    ['dispatch', ceilings.dispatchSeconds]
  ]
  const [limit, floorSeconds] = floors.reduce((highest, floor) => floor[1] > highest[1] ? floor : highest)
  return {
    bytesPerSecond: bytes / seconds,
    copyShare: bytes / seconds / ceilings.copyBytesPerSecond,
    flopsPerSecond: flops / seconds,
    peakShare: flops / seconds / ceilings.productFlopsPerSecond,
    limit,
    floorSeconds,
    overFloor: seconds / floorSeconds
  }
}
