import os from 'node:os'
import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import { GpuDevice } from '../device/gpu-device.ts'
import type { AdapterReport, EngineOptions, ModelSource, StorageType, WeightFormat } from '../engine.ts'
import { planEngine } from '../engine-plan.ts'
import type { EnginePlan, PlannedDevice, PlanOptions } from '../engine-plan.ts'
import type { HostMemory } from '../kv-storage.ts'
import { blockBytesPerLayer } from '../kv-storage.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { openModel } from '../models/open-model.ts'
import { countParameters, weightFormats } from '../models/tensor-list.ts'
import type { EngineDebugOptions } from '../open-engine.ts'
import { checkTensors } from '../weights/check-tensors.ts'
import type { QuantizationScheme } from '../weights/quantized/index.ts'
import { AllocationAccount } from './allocation-account.ts'
import { memoryFit } from './memory-fit.ts'
import type { DeviceMemory, MemoryFit } from './memory-fit.ts'
import { allocateOnAccount } from './memory-use.ts'
import type { MemoryUse } from './memory-use.ts'

export interface InspectOptions extends PlanOptions, Pick<EngineOptions, 'adapter'> {
  readonly model: Exclude<ModelSource, { type: 'synthetic' }>
  /** False opens no GPU: one is assumed that computes in f16, has no tensor cores, and a host with enough memory. */
  readonly useAdapter: boolean
  /** Memory the device has for the model, which WebGPU does not tell. */
  readonly deviceBytes: number | undefined
  /** Default: this machine's, now. */
  readonly host?: HostMemory
}

export interface ModelInspection {
  readonly config: ModelConfig
  readonly parameters: number
  /** Those that a token is multiplied with: all of them but the experts it does not go to. */
  readonly activeParameters: number
  /** What the files store, the largest share first. */
  readonly formats: readonly WeightFormat[]
  /** How a directory's weights are quantised; undefined for plain ones, and for GGUF, whose formats say it. */
  readonly quantization: QuantizationScheme | undefined
  readonly adapter: { readonly report: AdapterReport, readonly capabilities: DeviceCapabilities } | undefined
  /** Why there is no adapter; undefined when there is one, and when it was not asked for. */
  readonly adapterProblem: string | undefined
  readonly dtype: StorageType
  readonly limits: EnginePlan['limits']
  readonly kvBytesPerToken: number
  /** What the engine cannot start without: a KV cache for one sequence of the longest context. With a stated KV cache, as `most`. */
  readonly least: MemoryUse
  /** What it takes where there is enough: a KV cache for all sequences, as far as a layer's fits one binding. */
  readonly most: MemoryUse
  readonly fit: MemoryFit
}

/** Bindings as Dawn grants them on NVIDIA's cards, and the workgroup memory that at least today's GPUs have. */
const ASSUMED = {
  capabilities: {
    f16: true, subgroups: true, timestamps: false, subgroupMatrix: false, software: false, maxBindingBytes: 2 ** 31 - 4, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 32_768
  },
  report: { name: 'such an adapter', subgroupMaxSize: 0 }
} as const

const ENOUGH: HostMemory = { freeBytes: Infinity, totalBytes: Infinity }

/**
 * Everything about a model that its configuration, its files' headers and the adapter tell. No weight is read, and nothing is
 * allocated on the device.
 * @throws InvalidCheckpointError, InvalidModelConfigError, UnsupportedModelError, OutOfDeviceMemoryError for a KV cache of no block, as
 * `openEngine` does; NoAdapterError when there is none of the name asked for (rejects)
 */
export async function inspectModel (options: InspectOptions, debug: EngineDebugOptions = {}): Promise<ModelInspection> {
  await using model = await openModel(options.model)
  const { config, source, quantization } = model
  checkTensors(source, config)
  const parameters = countParameters(config)
  const { adapter, problem } = options.useAdapter ? await openAndClose(options.adapter, debug) : { adapter: undefined, problem: undefined }
  const device = adapter ?? ASSUMED
  const host = adapter === undefined ? ENOUGH : options.host ?? { freeBytes: os.freemem(), totalBytes: os.totalmem() }
  const plan = planEngine(config, options, device)
  const unlimited = async (wantedTokens: number): Promise<MemoryUse> =>
    await allocateOnAccount(new AllocationAccount(device.capabilities), config, { ...plan, kv: { ...plan.kv, wantedTokens } }, ENOUGH)
  return {
    config,
    parameters,
    activeParameters: parameters - idleParameters(config),
    formats: weightFormats(source.tensors, config),
    quantization,
    adapter,
    adapterProblem: problem,
    dtype: plan.storage,
    limits: plan.limits,
    kvBytesPerToken: blockBytesPerLayer(config, 1, plan.storage) * config.layers.length,
    least: await unlimited(plan.kv.leastTokens),
    most: await unlimited(plan.kv.wantedTokens),
    fit: await memoryFit({ config, options, device, memory: memoryOf(device, options.deviceBytes, host), host })
  }
}

/** Weights of the experts that a token is not sent to. */
function idleParameters ({ hiddenSize, layers, experts }: ModelConfig): number {
  if (experts === undefined) return 0
  const numLayers = layers.filter(({ mlp }) => mlp === 'experts').length
  return numLayers * (experts.count - experts.perToken) * 3 * hiddenSize * experts.intermediateSize
}

/** The adapter, opened and given back at once. That there is none is a fact like others, unless one was asked for by name. */
async function openAndClose (adapter: string | undefined, debug: EngineDebugOptions): Promise<{ readonly adapter: ModelInspection['adapter'], readonly problem: string | undefined }> {
  try {
    await using device = await GpuDevice.open({ profile: 'production', adapter, ...debug })
    return { adapter: { report: device.report, capabilities: device.capabilities }, problem: undefined }
  } catch (error) {
    if (adapter !== undefined) throw error
    return { adapter: undefined, problem: error instanceof Error ? error.message : String(error) }
  }
}

function memoryOf ({ capabilities: { software } }: PlannedDevice, deviceBytes: number | undefined, host: HostMemory): DeviceMemory | undefined {
  if (deviceBytes !== undefined) return { bytes: deviceBytes, source: 'stated' }
  return software ? { bytes: host.freeBytes, source: 'host' } : undefined
}
