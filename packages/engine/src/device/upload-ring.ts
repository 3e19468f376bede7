import { mappableBuffers } from './mappable-buffers.ts'

interface Upload {
  readonly buffer: GPUBuffer
  readonly mapped: Promise<void>
}

/**
 * Buffers that the host fills and the device copies from, over and over. Each is mapped as soon as the device has done with it.
 *
 * A large `queue.writeBuffer` is slow because Dawn finds it new memory each time, in pieces of 4 MiB, which it also clears, and keeps
 * all but one piece no longer than the device needs them (DynamicUploader.cpp). These have paid for their pages when they are allocated.
 */
export class UploadRing {
  /** Taken from the host. */
  readonly bytes: number
  /** In the order in which the device will have done with them. */
  readonly #free: Upload[]

  private constructor (buffers: readonly GPUBuffer[]) {
    this.bytes = buffers.reduce((sum, { size }) => sum + size, 0)
    this.#free = buffers.map(buffer => ({ buffer, mapped: Promise.resolve() }))
  }

  /** `count` buffers of `size` bytes. @returns undefined when the host does not grant them all */
  static async allocate (device: GPUDevice, size: number, count: number): Promise<UploadRing | undefined> {
    const buffers = await mappableBuffers(device, 'write', size, count)
    if (buffers === undefined) return undefined
    const mapped = await Promise.allSettled(buffers.map(async buffer => await buffer.mapAsync(GPUMapMode.WRITE)))
    if (mapped.every(({ status }) => status === 'fulfilled')) return new UploadRing(buffers)
    for (const buffer of buffers) buffer.destroy()
    return undefined
  }

  /** A mapped buffer with anything in it, or undefined while the device needs all of them. Unmap it, submit its copies, and return it. */
  take (): GPUBuffer | undefined {
    return this.#free[0]?.buffer.mapState === 'mapped' ? this.#free.shift()?.buffer : undefined
  }

  /** Called after the submit. */
  giveBack (buffer: GPUBuffer): void {
    const mapped = buffer.mapAsync(GPUMapMode.WRITE)
    // Nobody may come for it before the device is gone.
    mapped.catch(() => {})
    this.#free.push({ buffer, mapped })
  }

  /** Resolves when one can be taken; none may be out. @throws Error when the device has gone, which unmaps without a word what was mapped */
  async next (): Promise<void> {
    const next = this.#free[0]
    await next?.mapped
    if (next?.buffer.mapState !== 'mapped') throw new Error('the device that upload buffers belong to has gone')
  }

  destroy (): void {
    for (const { buffer } of this.#free) buffer.destroy()
  }
}
