import type { GpuDevice } from './gpu-device.ts'

const SLOTS = 8

/** Times a step's pass on the device with two timestamps, where the adapter has them; or other commands, between two marks. */
export class StepTimer {
  /** Bytes a step's timestamps take at the end of its readback. */
  static readonly bytes = 16
  readonly #queries: GPUQuerySet | undefined
  readonly #resolved: GPUBuffer | undefined

  constructor ({ device, capabilities }: GpuDevice) {
    if (!capabilities.timestamps) return
    this.#queries = device.createQuerySet({ type: 'timestamp', count: 2 * SLOTS })
    this.#resolved = device.createBuffer({ label: 'timestamps', size: 256 * SLOTS, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC })
  }

  passDescriptor (step: number): GPUComputePassDescriptor {
    if (this.#queries === undefined) return { label: 'step' }
    const first = 2 * (step % SLOTS)
    return { label: 'step', timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 } }
  }

  /** Stamps when all before has ended, in place of a pass's beginning or end. */
  mark (encoder: GPUCommandEncoder, step: number, edge: 'begin' | 'end'): void {
    const querySet = this.#queries
    if (querySet === undefined) return
    const first = 2 * (step % SLOTS)
    // The end of an empty pass in both cases: its beginning may be stamped while earlier work goes on.
    const timestampWrites = { querySet, endOfPassWriteIndex: edge === 'begin' ? first : first + 1 }
    encoder.beginComputePass({ label: edge, timestampWrites }).end()
  }

  /** Appends the copy of the step's timestamps to `readback` at `offset`. */
  resolve (encoder: GPUCommandEncoder, step: number, readback: GPUBuffer, offset: number): void {
    if (this.#queries === undefined || this.#resolved === undefined) return
    const slot = step % SLOTS
    encoder.resolveQuerySet(this.#queries, 2 * slot, 2, this.#resolved, 256 * slot)
    encoder.copyBufferToBuffer(this.#resolved, 256 * slot, readback, offset, StepTimer.bytes)
  }

  /** Seconds between the timestamps found at `offset`, or undefined when the adapter gave none that make sense. */
  seconds (data: ArrayBuffer, offset: number): number | undefined {
    if (this.#queries === undefined || data.byteLength < offset + StepTimer.bytes) return undefined
    const [begin = 0n, end = 0n] = new BigUint64Array(data, offset, 2)
    return end > begin ? Number(end - begin) / 1e9 : undefined
  }
}
