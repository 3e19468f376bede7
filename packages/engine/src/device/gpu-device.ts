import type { AdapterReport } from '../engine.ts'
import { DeviceLostError, OutOfDeviceMemoryError } from '../errors.ts'
import { reportAdapter } from './adapter-report.ts'
import { openAdapter, openDevice } from './dawn.ts'
import type { DawnBackend, DawnProfile } from './dawn.ts'
import type { DeviceCapabilities } from './device-capabilities.ts'
import { storageSize } from './storage-allocator.ts'
import type { StorageAllocator } from './storage-allocator.ts'

/** Workgroup memory of the largest tensor-core kernel (mma-tile.ts with four column tiles). */
const LARGEST_MMA_BYTES = 38_912

/** Switches a device feature off, so that tests cover the paths of adapters that lack it. */
export type DisabledFeature = 'f16' | 'subgroups' | 'subgroup-matrix'

export interface GpuDeviceOptions {
  readonly profile: DawnProfile
  readonly adapter?: string | undefined
  /** `null` checks shaders without a device; undefined: native. */
  readonly backend?: DawnBackend
  readonly without?: readonly DisabledFeature[]
  /** Lowers the binding limit, so that tests reach the code that splits tensors over several bindings. */
  readonly maxBindingBytes?: number
}

/** The opened device with its capabilities. GPU objects never leave `packages/engine`. */
export class GpuDevice implements StorageAllocator, AsyncDisposable {
  readonly report: AdapterReport
  readonly capabilities: DeviceCapabilities
  readonly device: GPUDevice
  readonly queue: GPUQueue
  /** Resolves only when the device is lost without having been disposed of. */
  readonly lost: Promise<DeviceLostError>
  readonly #uncaptured: string[] = []

  constructor (device: GPUDevice, report: AdapterReport, options: GpuDeviceOptions) {
    this.device = device
    this.queue = device.queue
    this.report = report
    const without = new Set(options.without ?? [])
    const f16 = device.features.has('shader-f16') && !without.has('f16')
    const subgroups = device.features.has('subgroups') && !without.has('subgroups')
    const matrices = subgroups && !without.has('subgroup-matrix') && device.limits.maxComputeWorkgroupStorageSize >= LARGEST_MMA_BYTES && report.subgroupMinSize === report.subgroupMaxSize &&
      device.features.has('chromium-experimental-subgroup-matrix')
    const hasProduct = (type: string, result: string, depth: number, n = 16): boolean => matrices &&
      report.subgroupMatrixConfigs.some(c => c.componentType === type && c.resultComponentType === result && c.m === 16 && c.n === n && c.k === depth)
    this.capabilities = {
      f16,
      subgroups,
      timestamps: device.features.has('timestamp-query'),
      subgroupMatrix: f16 && hasProduct('f16', 'f32', 16),
      narrowMatrix: f16 && hasProduct('f16', 'f32', 16, 8),
      int8MatrixDepth: ([32, 16] as const).find(depth => hasProduct('i8', 'i32', depth)),
      software: report.software,
      maxBindingBytes: Math.min(device.limits.maxStorageBufferBindingSize, options.maxBindingBytes ?? Infinity),
      maxWorkgroupThreads: device.limits.maxComputeInvocationsPerWorkgroup,
      maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize
    }
    this.lost = new Promise(resolve => {
      device.lost.then(info => {
        if (info.reason !== 'destroyed') resolve(new DeviceLostError({ reason: info.reason, message: info.message }))
      }, () => {})
    })
    device.addEventListener('uncapturederror', event => { this.#uncaptured.push(event.error.message) })
  }

  static async open (options: GpuDeviceOptions): Promise<GpuDevice> {
    const adapter = await openAdapter(options.profile, options.adapter, options.backend ?? 'native')
    const report = reportAdapter(adapter)
    return new GpuDevice(await openDevice(adapter), report, options)
  }

  /** Errors Dawn reported outside any scope, emptied by reading. */
  takeErrors (): string[] {
    return this.#uncaptured.splice(0)
  }

  /**
   * A storage buffer of at least `bytes` (rounded up to 16). The caller owns it.
   * @throws OutOfDeviceMemoryError, also when it is larger than one binding may be
   */
  async createStorage (label: string, bytes: number): Promise<GPUBuffer> {
    const size = storageSize(bytes)
    // Kernels bind whole buffers, and the production profile would not notice a binding that is too large.
    if (size > this.device.limits.maxStorageBufferBindingSize) throw new OutOfDeviceMemoryError({ label, bytes: size })
    this.device.pushErrorScope('out-of-memory')
    this.device.pushErrorScope('validation')
    let buffer: GPUBuffer
    try {
      buffer = this.device.createBuffer({ label, size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST })
    } catch (cause) {
      await Promise.all([this.device.popErrorScope(), this.device.popErrorScope()])
      throw new OutOfDeviceMemoryError({ label, bytes: size }, cause)
    }
    const errors = await Promise.all([this.device.popErrorScope(), this.device.popErrorScope()])
    const error = errors.find(e => e !== null)
    if (error !== undefined) {
      buffer.destroy()
      throw new OutOfDeviceMemoryError({ label, bytes: size }, error)
    }
    return buffer
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.queue.onSubmittedWorkDone().catch(() => {})
    this.device.destroy()
  }
}
