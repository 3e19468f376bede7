import type { RunnerLimits } from './contract.ts'
import { measureCopyBandwidth } from './device/copy-bandwidth.ts'
import { GpuDevice } from './device/gpu-device.ts'
import type { DisabledFeature } from './device/gpu-device.ts'
import type { EngineOptions, GpuEngine, StorageType } from './engine.ts'
import { UnsupportedModelError, WeightRangeError } from './errors.ts'
import { fitsMma } from './kernels/matmul/matmul-variants.ts'
import type { WeightLayout } from './kernels/matmul/weight-layout.ts'
import { sample } from './kernels/model-kernels.ts'
import { PipelineCache } from './kernels/pipeline-cache.ts'
import { KVStorage } from './kv-storage.ts'
import { createActivationBuffers, partialSplits } from './layers/activation-buffers.ts'
import { createExpertBuffers } from './layers/expert-buffers.ts'
import { attentionTileShape } from './layers/attention.ts'
import { createRotaryTable } from './layers/rotary-table.ts'
import { GpuModelRunner } from './model-runner.ts'
import { Decoder } from './models/decoder.ts'
import { expertConfig } from './models/expert-layer.ts'
import { loadDecoder } from './models/load-decoder.ts'
import type { ModelConfig } from './models/model-config.ts'
import { namedShape } from './models/named-shapes.ts'
import { openModel } from './models/open-model.ts'
import type { OpenModel } from './models/open-model.ts'
import { synthesizeDecoder } from './models/synthesize-decoder.ts'
import { countParameters, weightFormats } from './models/tensor-list.ts'
import { StepPacker, resultWords } from './step-inputs.ts'
import { warmUp } from './warm-up.ts'

/** Rows for scored prompt tokens, beside one for every sequence. */
const SCORE_ROWS = 32
/** Workgroups along one dimension of a dispatch, WebGPU's default limit: some kernels run one per token. */
const MAX_WORKGROUPS = 65_535

/** What tests and debugging may change about the device. */
export interface EngineDebugOptions {
  readonly without?: readonly DisabledFeature[]
  readonly maxBindingBytes?: number
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
  const device = await GpuDevice.open({ profile: options.debug ? 'debug' : 'production', adapter: options.adapter, ...debug })
  try {
    return await openOn(device, model, options, started)
  } catch (error) {
    await device[Symbol.asyncDispose]()
    // bf16 reaches further than f16. What was loaded so far is in the wrong type: start over, on a device without it.
    if (!(error instanceof WeightRangeError) || options.dtype !== 'auto') throw error
    options.onProgress({ stage: 'weights', done: 0, total: 0, detail: `${error.message.split(';')[0] ?? ''}; loading as f32` })
    return await openOnDevice(model, { ...options, dtype: 'f32' }, debug, started)
  }
}

async function openOn (device: GpuDevice, model: Model, options: EngineOptions, started: number): Promise<GpuEngine> {
  const { config } = model
  refuseRaggedSizes(config)
  const storage = chooseStorage(device, options.dtype)
  options.onProgress({ stage: 'adapter', done: 1, total: 1, detail: `${device.report.name}, ${storage}` })
  // Tensor cores multiply f16 by f16; everywhere else activations stay f32.
  const tensorCores = storage === 'f16' && device.capabilities.subgroupMatrix &&
    fitsMma([config.hiddenSize, config.intermediateSize, config.numHeads * config.headDim, config.numKVHeads * config.headDim, config.vocabSize])
  const layout: WeightLayout = tensorCores ? 'tiled' : 'interleaved'
  const activation: StorageType = tensorCores ? 'f16' : 'f32'
  const pipelines = new PipelineCache(device, storage, activation)
  const maxModelLen = Math.min(options.maxModelLen ?? config.maxPositionEmbeddings, config.maxPositionEmbeddings)
  const shape = {
    maxBatchedTokens: Math.min(options.maxBatchedTokens, MAX_WORKGROUPS),
    maxSequences: options.maxSequences,
    maxLogitRows: options.maxSequences + SCORE_ROWS,
    maxModelLen,
    blockSize: options.blockSize,
    vocabSize: config.vocabSize
  }
  const tile = attentionTileShape(config, storage, device.capabilities)
  const stepLayout = { tileTokens: tile.queries, partialSplits: partialSplits(config, shape, device.capabilities.maxBindingBytes) }
  const stepWords = new StepPacker({ ...shape, numKVBlocks: 0 }, stepLayout).maxWords
  const target = { device, pipelines, storage, layout, onProgress: options.onProgress }
  const seed = options.model.type === 'synthetic' ? options.model.seed : 0
  const weights = model.source === undefined ? await synthesizeDecoder(seed, config, target) : await loadDecoder(model, target)
  const buffers = await createActivationBuffers(device, config, shape, activation, stepWords)
  const experts = config.experts === undefined ? undefined : await createExpertBuffers(device, expertConfig(config), shape.maxBatchedTokens, activation)
  const rotations: GPUBuffer[] = []
  for (const rotary of config.rotaries) rotations.push(await createRotaryTable(device, rotary, maxModelLen))

  options.onProgress({ stage: 'kv-cache', done: 0, total: 0, detail: 'allocating the KV cache' })
  const kv = await KVStorage.allocate(device, {
    config,
    blockSize: options.blockSize,
    storage,
    kvCacheBytes: options.kvCacheBytes,
    wantedTokens: options.maxSequences * maxModelLen,
    leastTokens: maxModelLen
  })
  const limits: RunnerLimits = { ...shape, numKVBlocks: kv.numBlocks }

  options.onProgress({ stage: 'kernels', done: 0, total: 0, detail: 'compiling kernels' })
  const context = { device, pipelines, config, buffers, blockSize: options.blockSize, tile }
  const decoder = await Decoder.create(context, weights, { kv: kv.layers, rotations, experts })
  // A power of two, since the sampler reduces by halves; not every adapter's limit is one.
  const threads = 2 ** Math.floor(Math.log2(Math.min(device.capabilities.maxWorkgroupThreads, device.capabilities.software ? 32 : 1024)))
  const sampler = await pipelines.get(sample, { VOCAB: config.vocabSize, THREADS: threads, RESULT_WORDS: resultWords })
  const { logits, step, adjusted, counts, sampled, results } = buffers
  const sampleGroup = sampler.bind({ logits, step, adjusted, counts, sampled, results })
  await device.queue.onSubmittedWorkDone()

  const runner = new GpuModelRunner({
    device,
    limits,
    packer: new StepPacker(limits, stepLayout),
    buffers,
    kv,
    record: (list, stepShape) => {
      decoder.record(list, stepShape)
      list.dispatch('sample', sampler, sampleGroup, [stepShape.logitRows, 1, 1])
    }
  })
  await warmUp(runner, (done, total) => options.onProgress({ stage: 'kernels', done, total, detail: 'warming up' }))
  const parameters = countParameters(config)
  return {
    runner,
    profile: batch => runner.profile(batch),
    measureCopyBandwidth: () => measureCopyBandwidth(device),
    report: {
      adapter: device.report,
      dtype: storage,
      architecture: config.architecture,
      parameters,
      weightBytes: parameters * (storage === 'f16' ? 2 : 4),
      weightFormats: model.source === undefined ? [] : weightFormats(model.source.tensors, config),
      kvCacheBytes: kv.bytes,
      loadSeconds: (performance.now() - started) / 1000
    }
  }
}

/** Kernels load four values at a time, and would leave out the rest of a row without a word. */
function refuseRaggedSizes ({ hiddenSize, intermediateSize, headDim }: ModelConfig): void {
  for (const [field, value] of Object.entries({ hidden_size: hiddenSize, intermediate_size: intermediateSize, head_dim: headDim })) {
    if (value % 4 !== 0) throw new UnsupportedModelError({ field, value, supported: 'multiples of 4' })
  }
}

/** Software adapters compute in f32 whatever is stored: f16 only costs them conversions. */
function chooseStorage (device: GpuDevice, dtype: EngineOptions['dtype']): StorageType {
  const { f16, software } = device.capabilities
  if (dtype === 'f16' && !f16) {
    throw new UnsupportedModelError({ field: '--dtype', value: 'f16', supported: `f32 on ${device.report.name}, which does not compute in f16` })
  }
  return dtype === 'auto' ? (f16 && !software ? 'f16' : 'f32') : dtype
}
