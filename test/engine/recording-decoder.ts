import type t from 'tap'
import type { ForwardBatch, RunnerLimits } from '@daybreak/engine/contract'
import type { ModelConfig } from '@daybreak/engine'
import type { DeviceCapabilities } from '../../packages/engine/src/device/device-capabilities.ts'
import { GpuDevice } from '../../packages/engine/src/device/gpu-device.ts'
import { planEngine } from '../../packages/engine/src/engine-plan.ts'
import type { EnginePlan } from '../../packages/engine/src/engine-plan.ts'
import { CommandList } from '../../packages/engine/src/kernels/command-list.ts'
import type { Dispatch } from '../../packages/engine/src/kernels/command-list.ts'
import type { Bindings, Kernel } from '../../packages/engine/src/kernels/define-kernel.ts'
import type { PipelineCache } from '../../packages/engine/src/kernels/pipeline-cache.ts'
import { WholeLayers } from '../../packages/engine/src/layers/whole-layers.ts'
import type { WholeLayerChoice } from '../../packages/engine/src/layers/whole-layers.ts'
import { Sampler } from '../../packages/engine/src/layers/sampler.ts'
import { allocateWorkspace } from '../../packages/engine/src/layers/workspace.ts'
import { decoderAllocator } from '../../packages/engine/src/models/allocate-decoder.ts'
import { Decoder } from '../../packages/engine/src/models/decoder.ts'
import { makeDecoder } from '../../packages/engine/src/models/make-decoder.ts'
import { StepPacker } from '../../packages/engine/src/step-inputs.ts'
import type { StepShape } from '../../packages/engine/src/step-inputs.ts'

/** An adapter's, as far as they choose kernels. */
export type AssumedCapabilities = Pick<DeviceCapabilities, 'subgroupMatrix' | 'narrowMatrix' | 'software'>

export const tensorCores: AssumedCapabilities = { subgroupMatrix: true, narrowMatrix: true, software: false }
export const softwareAdapter: AssumedCapabilities = { subgroupMatrix: false, software: true }

/** A step that nobody runs. */
export interface RecordedStep { readonly shape: StepShape, readonly dispatches: readonly Dispatch[] }

/** A whole model whose pipelines are names of kernels and their overrides. */
export interface RecordingDecoder {
  readonly plan: EnginePlan
  readonly limits: RunnerLimits
  /** As an engine would record it, sampling included. */
  readonly record: (batch: ForwardBatch) => RecordedStep
}

/**
 * Models of any size: large buffers are not as large. Decodes that begin alike are attended together, however few they are.
 * @param whole how layers of single tokens are computed whole; undefined: they are not
 */
export async function openRecordingDecoder (tap: Pick<typeof t, 'teardown'>, config: ModelConfig, assumed: AssumedCapabilities, whole?: readonly WholeLayerChoice[]): Promise<RecordingDecoder> {
  const device = await aDevice(tap, assumed)
  const plan = planEngine(config, { dtype: 'auto', blockSize: 16, kvCacheBytes: undefined, maxModelLen: 4096, maxSequences: 64, maxBatchedTokens: 1024, sharedAttention: true, leastSavedKeys: 0 }, device)
  const { storage, layout, attention, deterministic } = plan
  // Nothing is kept in them.
  const limits = { ...plan.limits, numKVBlocks: 1 << 20 }
  const pipelines = namedPipelines()
  const { buffers, experts, rotations } = await allocateWorkspace(device, config, plan)
  const weights = await makeDecoder(config, decoderAllocator(device, { storage, layout }))
  const context = { device, pipelines, config, buffers, blockSize: limits.blockSize, attention, deterministic, products: {} }
  const kv = await Promise.all(config.layers.map((_, i) => device.createStorage(`kv ${i}`, 0)))
  const decoder = await Decoder.create(context, weights, { kv, rotations, experts })
  if (whole !== undefined) decoder.wholeLayers = await WholeLayers.create(context, whole, weights.layers, { kv, rotations })
  const sampler = await Sampler.create(context, config.vocabSize)
  const packer = new StepPacker(limits, plan.stepLayout)
  return {
    plan,
    limits,
    record: batch => {
      const { shape } = packer.pack(batch)
      const list = new CommandList()
      decoder.record(list, shape)
      sampler.record(list, shape)
      return { shape, dispatches: list.dispatches }
    }
  }
}

async function aDevice (tap: Pick<typeof t, 'teardown'>, assumed: AssumedCapabilities): Promise<GpuDevice> {
  const real = await GpuDevice.open({ profile: 'production', backend: 'null' })
  tap.teardown(() => real[Symbol.asyncDispose]())
  return Object.assign(Object.create(real) as GpuDevice, {
    report: { ...real.report, name: 'nothing', subgroupMinSize: 32, subgroupMaxSize: 32, limits: { ...real.report.limits, maxStorageBuffersPerShaderStage: 16 } },
    capabilities: { ...real.capabilities, f16: true, subgroups: true, maxBindingBytes: 2 ** 30, maxWorkgroupBytes: 48 << 10, maxWorkgroupThreads: 1024, ...assumed },
    createStorage: (label: string, bytes: number) => real.createStorage(label, label === 'exchange' || label === 'residual' ? bytes : Math.min(bytes, 4096))
  })
}

/** Nothing here could compile kernels for tensor cores. One object for each variant, as a cache has them. */
function namedPipelines (): PipelineCache {
  const known = new Map<string, GPUComputePipeline>()
  const bindGroup: GPUBindGroup = { __brand: 'GPUBindGroup', label: '' }
  const get = async ({ name, bindings }: Kernel<Bindings, string>, overrides: Readonly<Record<string, number>>): Promise<unknown> => {
    const label = `${name} ${JSON.stringify(overrides)}`
    const gpu = known.get(label) ?? { __brand: 'GPUComputePipeline', label, getBindGroupLayout () { throw new Error('nothing is compiled') } }
    known.set(label, gpu)
    return { kernel: name, gpu, bindings, bind: () => bindGroup }
  }
  return { get } as unknown as PipelineCache
}
