import type { GpuDevice } from '../device/gpu-device.ts'
import type { StorageType } from '../engine.ts'
import { InvalidShaderError } from '../errors.ts'
import type { Bindings, Kernel } from './define-kernel.ts'
import { shaderPrelude } from './shader-source.ts'

/** A compiled kernel, ready to bind. */
export interface Pipeline<B extends Bindings> {
  readonly kernel: string
  readonly gpu: GPUComputePipeline
  readonly bindings: B
  /** Buffers by binding name; a `GPUBufferBinding` binds a window of a larger buffer. */
  bind (buffers: { readonly [K in keyof B]: GPUBuffer | GPUBufferBinding }): GPUBindGroup
}

/** Compiled pipelines by (kernel, overrides): each variant is built once, and many in parallel. */
export class PipelineCache {
  readonly #device: GpuDevice
  readonly #storage: StorageType
  readonly #activation: StorageType
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>()
  readonly #layouts = new Map<string, GPUBindGroupLayout>()

  constructor (device: GpuDevice, storage: StorageType, activation: StorageType) {
    this.#device = device
    this.#storage = storage
    this.#activation = activation
  }

  /** @throws InvalidShaderError with the compiler's messages */
  async get<B extends Bindings, O extends string> (
    kernel: Kernel<B, O>,
    overrides: { readonly [K in O]: number }
  ): Promise<Pipeline<B>> {
    const constants: Record<string, number> = { ...overrides }
    const key = `${kernel.name} ${JSON.stringify(constants)}`
    const layout = this.#layout(kernel.bindings)
    let pending = this.#pipelines.get(key)
    if (pending === undefined) {
      pending = this.#compile(kernel, constants, layout)
      this.#pipelines.set(key, pending)
    }
    const gpu = await pending
    const device = this.#device.device
    const names = Object.keys(kernel.bindings)
    return {
      kernel: kernel.name,
      gpu,
      bindings: kernel.bindings,
      bind: buffers => device.createBindGroup({
        label: kernel.name,
        layout,
        entries: names.map((name, binding) => ({ binding, resource: asBinding(buffers[name]) }))
      })
    }
  }

  async #compile (kernel: Kernel<Bindings, string>, constants: Record<string, number>, layout: GPUBindGroupLayout): Promise<GPUComputePipeline> {
    const { device, capabilities } = this.#device
    const code = shaderPrelude(capabilities, this.#storage, this.#activation, kernel.wgsl) + kernel.wgsl
    device.pushErrorScope('validation')
    const module = device.createShaderModule({ label: kernel.name, code })
    const info = await module.getCompilationInfo()
    await device.popErrorScope()
    const errors = info.messages.filter(m => m.type === 'error')
    if (errors.length > 0) {
      const lines = code.split('\n')
      throw new InvalidShaderError({
        kernel: kernel.name,
        messages: errors.map(m => `  line ${m.lineNum}: ${m.message}\n    ${lines[m.lineNum - 1]?.trim() ?? ''}`)
      })
    }
    try {
      return await device.createComputePipelineAsync({
        label: kernel.name,
        layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: 'main', constants }
      })
    } catch (cause) {
      throw new InvalidShaderError({ kernel: kernel.name, messages: [String(cause), JSON.stringify(constants)] })
    }
  }

  #layout (bindings: Bindings): GPUBindGroupLayout {
    const key = Object.values(bindings).join()
    const known = this.#layouts.get(key)
    if (known !== undefined) return known
    const layout = this.#device.device.createBindGroupLayout({
      entries: Object.values(bindings).map((access, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: access === 'read' ? 'read-only-storage' : 'storage' }
      }))
    })
    this.#layouts.set(key, layout)
    return layout
  }
}

function asBinding (buffer: GPUBuffer | GPUBufferBinding | undefined): GPUBufferBinding {
  if (buffer === undefined) throw new TypeError('a binding has no buffer')
  return 'buffer' in buffer ? buffer : { buffer }
}
