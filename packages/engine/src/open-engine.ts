import os from 'node:os'
import { measurePassSeconds } from './bench/pass-seconds.ts'
import type { RunnerLimits } from './contract.ts'
import { measureCopyBandwidth } from './device/copy-bandwidth.ts'
import { GpuDevice } from './device/gpu-device.ts'
import type { DisabledFeature } from './device/gpu-device.ts'
import type { EngineOptions, GpuEngine } from './engine.ts'
import { planEngine } from './engine-plan.ts'
import { WeightRangeError } from './errors.ts'
import { PipelineCache } from './kernels/pipeline-cache.ts'
import { KVStorage } from './kv-storage.ts'
import { KVSwap, swapSpaceBytes } from './kv-swap.ts'
import { fillRotaryTable } from './layers/rotary-table.ts'
import { Sampler } from './layers/sampler.ts'
import { allocateWorkspace } from './layers/workspace.ts'
import { measureBlockSeconds } from './measure-swaps.ts'
import { GpuModelRunner } from './model-runner.ts'
import { Decoder } from './models/decoder.ts'
import { loadDecoder } from './models/load-decoder.ts'
import type { ModelConfig } from './models/model-config.ts'
import { namedShape } from './models/named-shapes.ts'
import { openModel } from './models/open-model.ts'
import type { OpenModel } from './models/open-model.ts'
import { synthesizeDecoder } from './models/synthesize-decoder.ts'
import { countParameters, weightFormats } from './models/tensor-list.ts'
import { StepPacker } from './step-inputs.ts'
import { warmUp } from './warm-up.ts'
import { warmUpWholeLayers } from './warm-up-whole-layers.ts'
import { chooseWholeLayers, forgetWholeLayers } from './tuning/choose-whole-layers.ts'
import { measuredProducts } from './tuning/measured-products.ts'
import { quantizationNotes } from './weights/quantized/index.ts'

/** What tests and debugging may change about the device, and about when it is used for what. */
export interface EngineDebugOptions {
  readonly without?: readonly DisabledFeature[]
  readonly maxBindingBytes?: number
  /** Sequences attend together as soon as this many keys are saved, instead of where that is faster; see GroupLayout. */
  readonly leastSavedKeys?: number | undefined
}

/** What is to be computed, and its files unless it is synthetic. */
type Model = OpenModel | { readonly config: ModelConfig, readonly source?: undefined }

/**
 * Opens the device, loads the model and allocates everything a step needs. Nothing is allocated later, so what starts keeps
 * running. Disposing the runner frees it all.
 * @throws EngineError naming what is missing, unsupported or does not fit
 */
export async function openEngine (options: EngineOptions, debug: EngineDebugOptions = {}): Promise<GpuEngine> {
  const started = performance.now()
  options.onProgress({ stage: 'adapter', done: 0, total: 0, detail: 'looking for a GPU' })
  if (options.model.type === 'synthetic') return await openOnDevice({ config: namedShape(options.model.shape) }, options, debug, started)
  await using model = await openModel(options.model)
  return await openOnDevice(model, options, debug, started)
}

async function openOnDevice (model: Model, options: EngineOptions, debug: EngineDebugOptions, started: number): Promise<GpuEngine> {
  const { leastSavedKeys, ...limits } = debug
  const device = await GpuDevice.open({ profile: options.debug ? 'debug' : 'production', adapter: options.adapter, ...limits })
  try {
    return await openOn(device, model, { ...options, leastSavedKeys }, started)
  } catch (error) {
    await device[Symbol.asyncDispose]()
    // bf16 reaches further than f16. What was loaded so far is in the wrong type: start over, on a device without it.
    if (!(error instanceof WeightRangeError) || options.dtype !== 'auto') throw error
    options.onProgress({ stage: 'weights', done: 0, total: 0, detail: `${error.message.split(';')[0] ?? ''}; loading as f32` })
    return await openOnDevice(model, { ...options, dtype: 'f32' }, debug, started)
  }
}

async function openOn (device: GpuDevice, model: Model, options: EngineOptions & Pick<EngineDebugOptions, 'leastSavedKeys'>, started: number): Promise<GpuEngine> {
  const { config } = model
  const plan = planEngine(config, options, device)
  const { storage, activation, layout } = plan
  options.onProgress({ stage: 'adapter', done: 1, total: 1, detail: `${device.report.name}, ${storage}` })
  const pipelines = new PipelineCache(device, storage, activation)
  // While the device is empty: what is measured takes up to some hundred megabytes.
  const products = plan.deterministic ? {} : await measuredProducts(device, config, { pipelines, folder: options.tuningFolder, onProgress: options.onProgress })
  const target = { device, pipelines, storage, layout, onProgress: options.onProgress }
  const seed = options.model.type === 'synthetic' ? options.model.seed : 0
  const weights = model.source === undefined ? await synthesizeDecoder(seed, config, target) : await loadDecoder(model, target)
  const { buffers, experts, rotations } = await allocateWorkspace(device, config, plan)
  for (const [i, rotary] of config.rotaries.entries()) {
    const table = rotations[i]
    if (table !== undefined) fillRotaryTable(device, table, rotary, plan.limits.maxModelLen)
  }

  options.onProgress({ stage: 'kv-cache', done: 0, total: 0, detail: 'allocating the KV cache' })
  const kv = await KVStorage.allocate(device, { ...plan.kv, host: { freeBytes: os.freemem(), totalBytes: os.totalmem() } })
  const limits: RunnerLimits = { ...plan.limits, numKVBlocks: kv.numBlocks }

  options.onProgress({ stage: 'kernels', done: 0, total: 0, detail: 'compiling kernels' })
  const context = { device, pipelines, config, buffers, products, blockSize: options.blockSize, attention: plan.attention, deterministic: plan.deterministic }
  const memory = { kv: kv.layers, rotations, experts }
  // Gigabytes of host memory take the driver a second or two, in which other threads compile.
  const [decoder, sampler, swap] = await Promise.all([
    Decoder.create(context, weights, memory),
    Sampler.create(context, config.vocabSize),
    KVSwap.allocate(device, kv, swapSpaceBytes(options.swapSpaceBytes, device.capabilities.software, hostBytes()))
  ])
  await device.queue.onSubmittedWorkDone()
  const parts = { context, decoder, weights, memory, limits, stepLayout: plan.stepLayout, folder: options.tuningFolder, onProgress: options.onProgress }
  if (options.wholeLayers !== false) {
    decoder.wholeLayers = await chooseWholeLayers(parts)
  }

  // A stall before is of today; one in the middle of an answer is learnt from.
  let isWarm = false
  const runner = new GpuModelRunner({
    device,
    limits,
    packer: new StepPacker(limits, plan.stepLayout),
    buffers,
    kv,
    swap,
    record: (list, stepShape) => {
      decoder.record(list, stepShape)
      sampler.record(list, stepShape)
    },
    onStall: async () => { if (isWarm) await forgetWholeLayers(parts) },
    stallMark: stepShape => decoder.wholeLayers?.stallMark(stepShape)
  })
  const notes = model.source === undefined ? [] : [...quantizationNotes(model.quantization)]
  const isWhole = await warmUpWholeLayers(decoder, runner, async together => {
    await warmUp(runner, plan, together, (done, total) => options.onProgress({ stage: 'kernels', done, total, detail: 'warming up' }))
  })
  if (!isWhole) notes.push('layers are computed as with --no-whole-layers: not all of the GPU is free')
  isWarm = true
  if (swap !== undefined) {
    const { numSlots, groupSize } = swap
    runner.hostTier = { numSlots, groupSize, blockSeconds: await measureBlockSeconds(runner, numSlots) }
  }
  const parameters = countParameters(config)
  return {
    runner,
    profile: batch => runner.profile(batch),
    measurePassSeconds: () => measurePassSeconds(device),
    measureCopyBandwidth: () => measureCopyBandwidth(device),
    report: {
      adapter: device.report,
      dtype: storage,
      architecture: config.architecture,
      parameters,
      weightBytes: parameters * (storage === 'f16' ? 2 : 4),
      weightFormats: model.source === undefined ? [] : weightFormats(model.source.tensors, config),
      notes,
      kvCacheBytes: kv.bytes,
      swapSpaceBytes: swap?.bytes ?? 0,
      loadSeconds: (performance.now() - started) / 1000
    }
  }
}

/** Memory that this process may use: a container often has less than its machine. */
function hostBytes (): number {
  const constrained = process.constrainedMemory()
  return constrained > 0 ? Math.min(constrained, os.totalmem()) : os.totalmem()
}
