import { dawnPolls } from './dawn-polls.ts'
import type { PollPace } from './poll-pace.ts'
import { StepEstimate } from './step-estimate.ts'

/** A step's small results on their way back to the host, without stopping the queue. */
export class ReadbackRing {
  readonly #free: GPUBuffer[]
  readonly #bytes: number
  readonly #polls: PollPace

  /** Owns `depth` mappable buffers of `bytes` each. */
  constructor (device: GPUDevice, bytes: number, depth: number, polls: PollPace = dawnPolls()) {
    this.#bytes = bytes
    this.#polls = polls
    this.#free = Array.from({ length: depth }, () => device.createBuffer({
      label: 'readback',
      size: Math.ceil(bytes / 16) * 16,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST
    }))
  }

  /** A buffer to copy into, or undefined when `depth` results are outstanding. Give it to `read` after the submit. */
  take (): GPUBuffer | undefined {
    return this.#free.pop()
  }

  /**
   * Waits for the copy, hands a private copy of the first `bytes` over and takes the buffer back. Called in the order of submits.
   * @param estimate of what was submitted, with which its results are waited for and which learns from them
   */
  async read (buffer: GPUBuffer, bytes: number, estimate = new StepEstimate()): Promise<ArrayBuffer> {
    const length = Math.min(this.#bytes, Math.ceil(bytes / 8) * 8)
    this.#polls.begin(this, estimate)
    try {
      await buffer.mapAsync(GPUMapMode.READ, 0, length)
    } finally {
      this.#polls.end(this)
    }
    const copy = buffer.getMappedRange(0, length).slice(0)
    buffer.unmap()
    this.#free.push(buffer)
    return copy
  }
}
