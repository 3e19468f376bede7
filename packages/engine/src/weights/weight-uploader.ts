import type { GpuDevice } from '../device/gpu-device.ts'
import type { StorageType } from '../engine.ts'
import { defineKernel } from '../kernels/define-kernel.ts'
import { layoutNumber, paddedRows } from '../kernels/matmul/weight-layout.ts'
import type { WeightLayout } from '../kernels/matmul/weight-layout.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import { readShader } from '../kernels/shader-source.ts'
import type { CheckpointTensor } from './checkpoint.ts'
import { allocateLinear } from './linear-weight.ts'
import type { LinearWeight, WeightPart } from './linear-weight.ts'
import { RowReader } from './row-reader.ts'

const repack = defineKernel({
  name: 'repack',
  bindings: { rows: 'read', range: 'read', weight: 'read_write' },
  overrides: ['K', 'N', 'LAYOUT'],
  wgsl: readShader('repack')
})

// A few megabytes amortise the fixed cost of a copy; two slots let the file be read while the other slot's copy runs.
const SLOT_BYTES = 8 << 20
const NUM_SLOTS = 3

interface Slot {
  readonly mapped: GPUBuffer
  readonly scratch: GPUBuffer
  readonly range: GPUBuffer
  ready: Promise<void>
}

/**
 * Streams checkpoint tensors into device buffers in the layout the kernels read: file → mapped staging buffer (converted on the
 * way) → scratch → repack kernel. Host memory is a few slots, whatever the size of the model.
 */
export class WeightUploader {
  readonly #device: GpuDevice
  readonly #pipelines: PipelineCache
  readonly #storage: StorageType
  readonly #layout: WeightLayout
  readonly #onBytes: (bytes: number) => void
  readonly #reader = new RowReader()
  readonly #slots: Slot[] = []
  #next = 0
  #slotBytes = SLOT_BYTES

  constructor (device: GpuDevice, pipelines: PipelineCache, storage: StorageType, layout: WeightLayout, onBytes: (bytes: number) => void) {
    this.#device = device
    this.#pipelines = pipelines
    this.#storage = storage
    this.#layout = layout
    this.#onBytes = onBytes
  }

  /**
   * Tensors `[rows][k]` stacked by rows into one weight; with `gated`, exactly two of equal shape (gate, up).
   * @throws WeightRangeError, InvalidCheckpointError, OutOfDeviceMemoryError
   */
  async upload (label: string, tensors: readonly CheckpointTensor[], gated: boolean): Promise<LinearWeight> {
    const k = tensors[0]?.shape[1] ?? 0
    const rows = tensors.reduce((sum, tensor) => sum + (tensor.shape[0] ?? 0), 0)
    const weight = await allocateLinear(this.#device, label, { rows, k, gated, storage: this.#storage, layout: this.#layout })
    let before = 0
    for (const [i, tensor] of tensors.entries()) {
      const own = tensor.shape[0] ?? 0
      for (const part of weight.parts) {
        // Gate rows start a part, up rows follow behind all its gate rows.
        const first = gated ? part.firstColumn : Math.max(part.firstColumn, before)
        const last = gated ? part.firstColumn + part.columns : Math.min(part.firstColumn + part.columns, before + own)
        if (first >= last) continue
        const from = gated ? first : first - before
        const to = gated ? i * part.columns : first - part.firstColumn
        await this.#uploadRows(tensor, from, last - first, part, to, k, part.columns * (gated ? 2 : 1))
      }
      before += own
    }
    return weight
  }

  /** A vector (a norm's weight) as f32. */
  async uploadVector (label: string, tensor: CheckpointTensor): Promise<GPUBuffer> {
    const values = await this.#reader.readRows(tensor, 0, tensor.shape[0] ?? 1, 'f32')
    const buffer = await this.#device.createStorage(label, values.byteLength)
    this.#device.queue.writeBuffer(buffer, 0, new Float32Array(values))
    this.#onBytes(tensor.byteLength)
    return buffer
  }

  /** Waits for all copies and frees the staging memory. */
  async finish (): Promise<void> {
    await this.#device.queue.onSubmittedWorkDone()
    for (const slot of this.#slots) {
      await slot.ready
      slot.mapped.destroy()
      slot.scratch.destroy()
      slot.range.destroy()
    }
    this.#slots.length = 0
  }

  async #uploadRows (tensor: CheckpointTensor, from: number, count: number, part: WeightPart, to: number, k: number, n: number): Promise<void> {
    const bytesPerValue = this.#storage === 'f16' ? 2 : 4
    const rowBytes = k * bytesPerValue
    if (rowBytes > this.#slotBytes) throw new RangeError(`tensor ${tensor.name}: a row of ${rowBytes} bytes does not fit a staging slot`)
    const rowsAtOnce = Math.min(32768, Math.floor(this.#slotBytes / rowBytes))
    const pipeline = await this.#pipelines.get(repack, { K: k, N: paddedRows(this.#layout, n), LAYOUT: layoutNumber[this.#layout] })
    for (let row = 0; row < count; row += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, count - row)
      const slot = await this.#takeSlot()
      const bytes = Math.ceil(rows * rowBytes / 16) * 16
      const mapped = slot.mapped.getMappedRange(0, bytes)
      const values = this.#storage === 'f16' ? new Uint16Array(mapped, 0, rows * k) : new Float32Array(mapped, 0, rows * k)
      await this.#reader.readRowsInto(tensor, from + row, rows, values)
      slot.mapped.unmap()
      const { device, queue } = this.#device
      queue.writeBuffer(slot.range, 0, new Uint32Array([to + row, rows, 0, 0]))
      const encoder = device.createCommandEncoder({ label: 'upload' })
      encoder.copyBufferToBuffer(slot.mapped, 0, slot.scratch, 0, bytes)
      const pass = encoder.beginComputePass()
      pass.setPipeline(pipeline.gpu)
      pass.setBindGroup(0, pipeline.bind({ rows: slot.scratch, range: slot.range, weight: part.buffer }))
      pass.dispatchWorkgroups(Math.ceil(k / 256), rows, 1)
      pass.end()
      queue.submit([encoder.finish()])
      slot.ready = slot.mapped.mapAsync(GPUMapMode.WRITE)
      // Nobody may be left to wait for it when loading fails; whoever does still hears of it.
      slot.ready.catch(() => {})
      this.#onBytes(rows * k * (tensor.byteLength / ((tensor.shape[0] ?? 1) * k)))
    }
  }

  async #takeSlot (): Promise<Slot> {
    const existing = this.#slots[this.#next]
    const at = this.#next
    this.#next = (at + 1) % NUM_SLOTS
    if (existing !== undefined) {
      await existing.ready
      return existing
    }
    const { device } = this.#device
    const slot: Slot = {
      mapped: device.createBuffer({ label: 'staging', size: this.#slotBytes, usage: GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC, mappedAtCreation: true }),
      scratch: await this.#device.createStorage('staging scratch', this.#slotBytes),
      range: await this.#device.createStorage('staging range', 16),
      ready: Promise.resolve()
    }
    this.#slots[at] = slot
    return slot
  }
}
