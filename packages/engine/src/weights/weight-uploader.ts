import type { GpuDevice } from '../device/gpu-device.ts'
import type { StorageType } from '../engine.ts'
import { defineKernel } from '../kernels/define-kernel.ts'
import { layoutNumber, paddedRows } from '../kernels/matmul/weight-layout.ts'
import type { WeightLayout } from '../kernels/matmul/weight-layout.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import { readShader } from '../kernels/shader-source.ts'
import type { ExpertShape, ExpertWeights } from './expert-weights.ts'
import { allocateExperts, expertWindows } from './expert-weights.ts'
import { allocateLinear } from './linear-weight.ts'
import type { LinearWeight } from './linear-weight.ts'
import { OverflowCounts } from './overflow-counts.ts'
import { rowsOf } from './weight-tensor.ts'
import type { WeightTensor } from './weight-tensor.ts'

const repack = defineKernel({
  name: 'repack',
  bindings: { rows: 'read', range: 'read', weight: 'read_write' },
  overrides: ['K', 'N', 'LAYOUT'],
  wgsl: readShader('repack')
})

const repackBF16 = defineKernel({
  name: 'repack_bf16',
  bindings: { rows: 'read', range: 'read', weight: 'read_write', overflowed: 'read_write' },
  overrides: ['K', 'N', 'LAYOUT'],
  wgsl: readShader('repack_bf16')
})

// A few megabytes amortise the fixed cost of a copy; two slots let the file be read while the other slot's copy runs.
const SLOT_BYTES = 8 << 20
const NUM_SLOTS = 3

/** Where rows go: the whole of a weight buffer, or one expert's block. */
interface RepackTarget {
  readonly binding: GPUBufferBinding
  readonly layout: WeightLayout
  /** N of the layout before padding. */
  readonly rows: number
}

interface Slot {
  readonly mapped: GPUBuffer
  readonly scratch: GPUBuffer
  readonly range: GPUBuffer
  ready: Promise<void>
}

/**
 * Streams tensors into device buffers in the layout the kernels read: file → mapped staging buffer (converted on the way) →
 * scratch → repack kernel. Host memory is a few slots, whatever the size of the model.
 */
export class WeightUploader {
  readonly #device: GpuDevice
  readonly #pipelines: PipelineCache
  readonly #storage: StorageType
  readonly #layout: WeightLayout
  readonly #onBytes: (bytes: number) => void
  readonly #slots: Slot[] = []
  #overflow: OverflowCounts | undefined
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
  async upload (label: string, tensors: readonly WeightTensor[], gated: boolean): Promise<LinearWeight> {
    const k = tensors[0]?.shape[1] ?? 0
    const rows = tensors.reduce((sum, tensor) => sum + rowsOf(tensor).numRows, 0)
    const weight = await allocateLinear(this.#device, label, { rows, k, gated, storage: this.#storage, layout: this.#layout })
    let before = 0
    for (const [i, tensor] of tensors.entries()) {
      const own = rowsOf(tensor).numRows
      for (const part of weight.parts) {
        // Gate rows start a part, up rows follow behind all its gate rows.
        const first = gated ? part.firstColumn : Math.max(part.firstColumn, before)
        const last = gated ? part.firstColumn + part.columns : Math.min(part.firstColumn + part.columns, before + own)
        if (first >= last) continue
        const from = gated ? first : first - before
        const to = gated ? i * part.columns : first - part.firstColumn
        const rowsOfPart = part.columns * (gated ? 2 : 1)
        await this.#uploadRows(tensor, from, last - first, { binding: { buffer: part.buffer }, layout: this.#layout, rows: rowsOfPart }, to)
      }
      before += own
    }
    return weight
  }

  /**
   * One projection of every expert: a tensor each, or with `gated` two (gate, up).
   * @throws as `upload` does; UnsupportedModelError when few columns of one expert exceed a binding
   */
  async uploadExperts (label: string, experts: ReadonlyArray<readonly WeightTensor[]>, gated: boolean): Promise<ExpertWeights> {
    const [columns = 0, k = 0] = experts[0]?.[0]?.shape ?? []
    const shape: ExpertShape = { numExperts: experts.length, k, columns, gated, storage: this.#storage }
    const weights = await allocateExperts(this.#device, label, shape)
    for (const [expert, tensors] of experts.entries()) {
      for (const window of expertWindows(weights, expert)) {
        for (const [i, tensor] of tensors.entries()) {
          await this.#uploadRows(tensor, window.firstColumn, window.columns, { binding: window.binding, layout: 'interleaved', rows: window.rows }, i * window.columns)
        }
      }
    }
    return weights
  }

  /** Tensors one after the other as f32, row-major: norms, biases, routers. Each value is raised by `offset`. */
  async uploadValues (label: string, tensors: readonly WeightTensor[], offset = 0): Promise<GPUBuffer> {
    const sizes = tensors.map(tensor => rowsOf(tensor).numRows * rowsOf(tensor).rowLength)
    const values = new Float32Array(sizes.reduce((sum, size) => sum + size, 0))
    let at = 0
    for (const [i, tensor] of tensors.entries()) {
      await tensor.readRowsInto(0, rowsOf(tensor).numRows, values.subarray(at))
      at += sizes[i] ?? 0
      this.#onBytes(tensor.byteLength)
    }
    if (offset !== 0) values.forEach((value, i) => { values[i] = value + offset })
    const buffer = await this.#device.createStorage(label, values.byteLength)
    this.#device.queue.writeBuffer(buffer, 0, values)
    return buffer
  }

  /** Waits for all copies and frees the staging memory. @throws WeightRangeError for values that the device could not convert */
  async finish (): Promise<void> {
    await this.#device.queue.onSubmittedWorkDone()
    for (const slot of this.#slots) {
      await slot.ready
      slot.mapped.destroy()
      slot.scratch.destroy()
      slot.range.destroy()
    }
    this.#slots.length = 0
    await this.#overflow?.check()
    this.#overflow?.destroy()
  }

  async #uploadRows (tensor: WeightTensor, from: number, count: number, target: RepackTarget, to: number): Promise<void> {
    const { numRows, rowLength: k } = rowsOf(tensor)
    const bytesPerValue = this.#storage === 'f16' ? 2 : 4
    const rowBytes = k * bytesPerValue
    if (rowBytes > this.#slotBytes) throw new RangeError(`tensor ${tensor.name}: a row of ${rowBytes} bytes does not fit a staging slot`)
    const rowsAtOnce = Math.min(32768, Math.floor(this.#slotBytes / rowBytes))
    const sizes = { K: k, N: paddedRows(target.layout, target.rows), LAYOUT: layoutNumber[target.layout] }
    // Only f16 needs it: bf16 is the upper half of an f32, and adapters without f16 are slower than one thread here.
    const overflow = this.#storage === 'f16' && tensor.readBF16 !== undefined ? this.#overflow ??= await OverflowCounts.create(this.#device) : undefined
    for (let row = 0; row < count; row += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, count - row)
      const slot = await this.#takeSlot()
      const bytes = Math.ceil(rows * rowBytes / 16) * 16
      const mapped = slot.mapped.getMappedRange(0, bytes)
      const values = this.#storage === 'f16' ? new Uint16Array(mapped, 0, rows * k) : new Float32Array(mapped, 0, rows * k)
      if (overflow !== undefined && values instanceof Uint16Array) await tensor.readBF16?.(from + row, rows, values)
      else await tensor.readRowsInto(from + row, rows, values)
      slot.mapped.unmap()
      const { device, queue } = this.#device
      queue.writeBuffer(slot.range, 0, new Uint32Array([to + row, rows, overflow === undefined ? 0 : await overflow.indexOf(tensor), 0]))
      const [pipeline, group] = await this.#repacking(sizes, slot, target.binding, overflow)
      const encoder = device.createCommandEncoder({ label: 'upload' })
      encoder.copyBufferToBuffer(slot.mapped, 0, slot.scratch, 0, bytes)
      const pass = encoder.beginComputePass()
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, group)
      pass.dispatchWorkgroups(Math.ceil(k / 256), rows, 1)
      pass.end()
      queue.submit([encoder.finish()])
      slot.ready = slot.mapped.mapAsync(GPUMapMode.WRITE)
      // Nobody may be left to wait for it when loading fails; whoever does still hears of it.
      slot.ready.catch(() => {})
      this.#onBytes(tensor.byteLength * rows / numRows)
    }
  }

  async #repacking (sizes: { readonly K: number, readonly N: number, readonly LAYOUT: number }, { scratch, range }: Slot, weight: GPUBufferBinding, overflow: OverflowCounts | undefined): Promise<readonly [GPUComputePipeline, GPUBindGroup]> {
    if (overflow === undefined) {
      const pipeline = await this.#pipelines.get(repack, sizes)
      return [pipeline.gpu, pipeline.bind({ rows: scratch, range, weight })]
    }
    const pipeline = await this.#pipelines.get(repackBF16, sizes)
    return [pipeline.gpu, pipeline.bind({ rows: scratch, range, weight, overflowed: overflow.buffer })]
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
