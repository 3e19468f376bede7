import type { DeviceCapabilities } from './device-capabilities.ts'

/**
 * Where a model's buffers come from: the device, or an account of what the device would be asked for (inspect/allocation-account.ts).
 * Whatever stays on the device while steps run is allocated through this, so that both come to the same bytes.
 */
export interface StorageAllocator {
  readonly capabilities: DeviceCapabilities
  readonly queue: Pick<GPUQueue, 'writeBuffer'>
  /**
   * A storage buffer of `storageSize(bytes)`. The caller owns it.
   * @throws OutOfDeviceMemoryError, also when it is larger than one binding may be
   */
  createStorage (label: string, bytes: number): Promise<GPUBuffer>
}

/** What a buffer of at least `bytes` takes: kernels read vectors of 16 bytes, and an empty one cannot be bound. */
export function storageSize (bytes: number): number {
  return Math.max(16, Math.ceil(bytes / 16) * 16)
}
