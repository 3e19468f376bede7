import type { GpuDevice } from '../device/gpu-device.ts'
import { WeightRangeError } from '../errors.ts'
import type { WeightTensor } from './weight-tensor.ts'
import { rowsOf } from './weight-tensor.ts'

/** Tensors converted on the device whose counts are kept until they are read. */
const MOST_TENSORS = 4096

/** How many values of each tensor did not fit f16, counted by repack_bf16.wgsl and read when there is time to wait for the device. */
export class OverflowCounts {
  readonly buffer: GPUBuffer
  readonly #device: GpuDevice
  readonly #tensors: WeightTensor[] = []

  private constructor (device: GpuDevice, buffer: GPUBuffer) {
    this.#device = device
    this.buffer = buffer
  }

  static async create (device: GpuDevice): Promise<OverflowCounts> {
    return new OverflowCounts(device, await device.createStorage('overflow counts', 4 * MOST_TENSORS))
  }

  /** The index of a tensor's count. Checks all counts first when they are used up. @throws WeightRangeError */
  async indexOf (tensor: WeightTensor): Promise<number> {
    if (this.#tensors.at(-1) === tensor) return this.#tensors.length - 1
    if (this.#tensors.length === MOST_TENSORS) await this.check()
    return this.#tensors.push(tensor) - 1
  }

  /** Waits for the device, and starts counting anew. @throws WeightRangeError for the first tensor with a value too large */
  async check (): Promise<void> {
    const { device, queue } = this.#device
    const bytes = 4 * Math.max(1, this.#tensors.length)
    const readable = device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
    const encoder = device.createCommandEncoder({ label: 'overflow counts' })
    encoder.copyBufferToBuffer(this.buffer, 0, readable, 0, bytes)
    encoder.clearBuffer(this.buffer)
    queue.submit([encoder.finish()])
    await readable.mapAsync(GPUMapMode.READ)
    const counts = new Uint32Array(readable.getMappedRange().slice(0))
    readable.destroy()
    const tensors = this.#tensors.splice(0)
    counts.forEach((numOverflowed, i) => {
      const tensor = tensors[i]
      if (numOverflowed === 0 || tensor === undefined) return
      const { numRows, rowLength } = rowsOf(tensor)
      throw new WeightRangeError({ tensor: tensor.name, from: tensor.format, to: 'f16', numOverflowed, numValues: numRows * rowLength })
    })
  }

  destroy (): void {
    this.buffer.destroy()
  }
}
