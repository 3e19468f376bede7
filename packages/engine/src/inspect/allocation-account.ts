import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import type { StorageAllocator } from '../device/storage-allocator.ts'
import { storageSize } from '../device/storage-allocator.ts'
import { OutOfDeviceMemoryError } from '../errors.ts'

/** Undefined: no limit. */
export interface AccountLimits {
  /** Memory there is. */
  readonly freeBytes?: number | undefined
  /** The largest buffer that is granted. */
  readonly bufferBytes?: number | undefined
}

/** Stands in for a device while a model is allocated, to learn what that comes to: counts buffers instead of making them. */
export class AllocationAccount implements StorageAllocator {
  readonly capabilities: DeviceCapabilities
  readonly queue: StorageAllocator['queue'] = { writeBuffer: () => undefined }
  readonly #freeBytes: number
  readonly #bufferBytes: number
  #bytes = 0

  constructor (capabilities: DeviceCapabilities, { freeBytes = Infinity, bufferBytes = Infinity }: AccountLimits = {}) {
    this.capabilities = capabilities
    this.#freeBytes = freeBytes
    this.#bufferBytes = bufferBytes
  }

  /** Of all buffers that have not been destroyed. */
  get bytes (): number {
    return this.#bytes
  }

  async createStorage (label: string, bytes: number): Promise<GPUBuffer> {
    const size = storageSize(bytes)
    if (size > this.#bufferBytes || this.#bytes + size > this.#freeBytes) throw new OutOfDeviceMemoryError({ label, bytes: size })
    this.#bytes += size
    return new AccountedBuffer(label, size, () => { this.#bytes -= size })
  }
}

/** A size and a name; nothing can be read from it or written to it. */
class AccountedBuffer implements GPUBuffer {
  readonly __brand = 'GPUBuffer'
  readonly usage = 0
  readonly mapState = 'unmapped'
  readonly size: number
  label: string
  #release: (() => void) | undefined

  constructor (label: string, size: number, release: () => void) {
    this.label = label
    this.size = size
    this.#release = release
  }

  async mapAsync (): Promise<undefined> { return this.#refuse() }

  getMappedRange (): ArrayBuffer { return this.#refuse() }

  unmap (): undefined {}

  destroy (): undefined {
    this.#release?.()
    this.#release = undefined
  }

  #refuse (): never {
    throw new TypeError(`${this.label} is only counted`)
  }
}
