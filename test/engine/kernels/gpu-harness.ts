import t from 'tap'
import type { Test } from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import type { DisabledFeature } from '../../../packages/engine/src/device/gpu-device.ts'
import type { StorageType } from '../../../packages/engine/src/engine.ts'
import { NoAdapterError } from '../../../packages/engine/src/errors.ts'
import { CommandList } from '../../../packages/engine/src/kernels/command-list.ts'
import type { Bindings, Kernel } from '../../../packages/engine/src/kernels/define-kernel.ts'
import { PipelineCache } from '../../../packages/engine/src/kernels/pipeline-cache.ts'
import { float16Bits, float16FromBits } from '../../reference/float16.ts'
import { stepWords } from './step-records.ts'
import type { StepRecords } from './step-records.ts'

/** What a buffer's elements are. */
export type ElementType = StorageType | 'u32'

export interface HarnessOptions {
  readonly without?: readonly DisabledFeature[]
  readonly maxBindingBytes?: number
}

/** Why there is no device. */
export interface MissingGpu { readonly missing: string }

export interface Dispatched<B extends Bindings, O extends string> {
  readonly storage?: StorageType
  readonly activation?: StorageType
  readonly overrides: { readonly [K in O]: number }
  readonly buffers: { readonly [K in keyof B]: GPUBuffer | GPUBufferBinding }
  readonly grid: readonly [number, number, number]
}

/** As f32 and as two f16 this is NaN; as an integer it is none that a kernel would write. */
export const POISON = 0x7fc07fc0
/** Poison behind the end of every buffer: a kernel that writes there is caught, one that reads it computes NaN. */
const GUARD_BYTES = 64
const elementBytes = (type: ElementType): number => type === 'f16' ? 2 : 4

/** One device in debug profile (validation and robustness on), and the buffers of the running test. */
export class GpuHarness {
  readonly device: GpuDevice
  readonly #caches = new Map<string, PipelineCache>()
  readonly #buffers: GPUBuffer[] = []

  private constructor (device: GpuDevice) {
    this.device = device
  }

  /** Opens the device until the test file ends. Without an adapter, CI fails; elsewhere the answer says why tests are skipped. */
  static async open (options: HarnessOptions = {}): Promise<GpuHarness | MissingGpu> {
    try {
      // A shader's first compilation takes seconds on a software adapter; later runs find it in the driver's cache on disk.
      t.setTimeout(900_000)
      const device = await GpuDevice.open({ profile: 'debug', ...options })
      t.teardown(() => device[Symbol.asyncDispose]())
      return new GpuHarness(device)
    } catch (error) {
      const { CI } = process.env
      if (CI === 'true' || !(error instanceof NoAdapterError)) throw error
      return { missing: error.message }
    }
  }

  pipelines (storage: StorageType, activation: StorageType): PipelineCache {
    const key = `${storage} ${activation}`
    const cache = this.#caches.get(key) ?? new PipelineCache(this.device, storage, activation)
    this.#caches.set(key, cache)
    return cache
  }

  /** A buffer with these values, rounded to `type`. Freed when the test ends. */
  async upload (values: ArrayLike<number>, type: ElementType): Promise<GPUBuffer> {
    const bytes = Math.ceil(values.length * elementBytes(type) / 4) * 4 + GUARD_BYTES
    const words = new Uint32Array(Math.ceil(bytes / 16) * 4).fill(POISON)
    if (type === 'f16') new Uint16Array(words.buffer).set(Uint16Array.from(values, float16Bits))
    else if (type === 'f32') new Float32Array(words.buffer).set(values)
    else words.set(values)
    const buffer = await this.device.createStorage('test', words.byteLength)
    this.#buffers.push(buffer)
    this.device.queue.writeBuffer(buffer, 0, words)
    return buffer
  }

  /** A buffer of `length` NaN: an element that a kernel forgets to write stays one. */
  poisoned (length: number, type: ElementType): Promise<GPUBuffer> {
    return this.upload(new Uint32Array(Math.ceil(length * elementBytes(type) / 4)).fill(POISON), 'u32')
  }

  step (records: StepRecords): Promise<GPUBuffer> {
    return this.upload(stepWords(records), 'u32')
  }

  /** Compiles kernels that run later, f16, side by side: drivers take seconds for the large ones, one after the other minutes. */
  async compile<B extends Bindings, O extends string> (kernels: ReadonlyArray<readonly [kernel: Kernel<B, O>, overrides: { readonly [K in O]: number }]>): Promise<void> {
    await Promise.all(kernels.map(([kernel, overrides]) => this.pipelines('f16', 'f16').get(kernel, overrides)))
  }

  async run<B extends Bindings, O extends string> (kernel: Kernel<B, O>, { storage = 'f32', activation = 'f32', overrides, buffers, grid }: Dispatched<B, O>): Promise<void> {
    const pipeline = await this.pipelines(storage, activation).get(kernel, overrides)
    const list = new CommandList()
    list.dispatch(kernel.name, pipeline, pipeline.bind(buffers), grid)
    const encoder = this.device.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    list.replay(pass)
    pass.end()
    this.device.queue.submit([encoder.finish()])
  }

  /** The buffer's bits up to `length` elements of `type`. @throws Error when a kernel wrote behind them into the guard */
  async bits (buffer: GPUBuffer, length: number, type: ElementType): Promise<Uint32Array<ArrayBuffer>> {
    const numWords = Math.ceil(length * elementBytes(type) / 4)
    const readable = this.device.device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
    const encoder = this.device.device.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, 0, readable, 0, buffer.size)
    this.device.queue.submit([encoder.finish()])
    await readable.mapAsync(GPUMapMode.READ)
    const words = new Uint32Array(readable.getMappedRange().slice(0))
    readable.destroy()
    const strays = words.subarray(numWords, numWords + GUARD_BYTES / 4).findIndex(word => word !== POISON)
    if (strays !== -1) throw new Error(`word ${numWords + strays} of a buffer of ${numWords} words was written`)
    return words.slice(0, numWords)
  }

  async download (buffer: GPUBuffer, length: number, type: ElementType): Promise<Float64Array> {
    const words = await this.bits(buffer, length, type)
    if (type === 'f16') return Float64Array.from(new Uint16Array(words.buffer).subarray(0, length), float16FromBits)
    return Float64Array.from(type === 'f32' ? new Float32Array(words.buffer) : words)
  }

  /** Destroys the buffers made since the last call. */
  free (): void {
    for (const buffer of this.#buffers.splice(0)) buffer.destroy()
  }
}

/** A test that needs the device: skipped with the reason where there is none; fails when the device reports an error on the way. */
export function gpuTest (name: string, gpu: GpuHarness | MissingGpu, body: (t: Test, gpu: GpuHarness) => Promise<void>): void {
  if ('missing' in gpu) {
    t.test(name, { skip: gpu.missing }, async () => {})
    return
  }
  t.test(name, async t => {
    await body(t, gpu)
    gpu.free()
    await gpu.device.queue.onSubmittedWorkDone()
    t.strictSame(gpu.device.takeErrors(), [], 'the device reports no error')
  })
}
