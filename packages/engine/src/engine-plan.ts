import type { RunnerLimits } from './contract.ts'
import type { GpuDevice } from './device/gpu-device.ts'
import type { AdapterReport, EngineOptions, StorageType } from './engine.ts'
import { UnsupportedModelError } from './errors.ts'
import { checkExpertConfig } from './kernels/experts/expert-config.ts'
import { fitsMma } from './kernels/matmul/matmul-variants.ts'
import type { WeightLayout } from './kernels/matmul/weight-layout.ts'
import type { KVStorageRequest } from './kv-storage.ts'
import { partialSplits } from './layers/activation-buffers.ts'
import { chooseSplit, planAttention, tileTokens } from './layers/attention-plan.ts'
import type { AttentionPlan } from './layers/attention-plan.ts'
import { groupLayout } from './layers/group-layout.ts'
import { expertConfig } from './models/expert-layer.ts'
import type { NormBehind } from './kernels/matmul/product-table.ts'
import type { ModelConfig } from './models/model-config.ts'
import { StepPacker } from './step-inputs.ts'
import type { StepLayout } from './step-inputs.ts'

/** Rows for scored prompt tokens, beside one for every sequence. */
const SCORE_ROWS = 32
/** Workgroups along one dimension of a dispatch, WebGPU's default limit: some kernels run one per token. */
const MAX_WORKGROUPS = 65_535

/** Everything that is decided about a model on a device before anything is allocated. */
export interface EnginePlan {
  readonly storage: StorageType
  readonly activation: StorageType
  readonly layout: WeightLayout
  readonly limits: Omit<RunnerLimits, 'numKVBlocks'>
  readonly attention: AttentionPlan
  /** Every kernel of a weight sums in one order, whatever the batch: asked for, or the only ones there are. */
  readonly deterministic: boolean
  /** Products that go into the residual stream may come as sums of parts of K, which the next norm adds up. */
  readonly partedProducts: boolean
  readonly stepLayout: StepLayout
  /** u32 words of the largest step's inputs. */
  readonly stepWords: number
  readonly kv: Omit<KVStorageRequest, 'host'>
}

export type PlanOptions = Pick<EngineOptions, 'dtype' | 'blockSize' | 'kvCacheBytes' | 'maxModelLen' | 'maxSequences' | 'maxBatchedTokens' | 'deterministic' | 'sharedAttention'> & { readonly leastSavedKeys?: number | undefined }

/** What a plan asks of a device, or of what one is assumed to be. */
export type PlannedDevice = Pick<GpuDevice, 'capabilities'> & { readonly report: Pick<AdapterReport, 'name' | 'subgroupMaxSize'> }

/**
 * One decision is out of reach here: with dtype `auto`, weights that turn out not to fit f16 are loaded as f32 after all.
 * @throws UnsupportedModelError
 */
export function planEngine (config: ModelConfig, options: PlanOptions, device: PlannedDevice): EnginePlan {
  const { capabilities } = device
  refuseRaggedSizes(config)
  if (config.experts !== undefined) checkExpertConfig(expertConfig(config))
  const storage = chooseStorage(device, options.dtype)
  // Tensor cores multiply f16 by f16; everywhere else activations stay f32.
  const tensorCores = storage === 'f16' && capabilities.subgroupMatrix &&
    fitsMma([config.hiddenSize, config.intermediateSize, config.numHeads * config.headDim, config.numKVHeads * config.headDim, config.vocabSize])
  const { blockSize, kvCacheBytes, maxSequences } = options
  // The fast kernels deal their work out to subgroups of 32.
  const deterministic = options.deterministic === true || !tensorCores || device.report.subgroupMaxSize !== 32
  const maxModelLen = Math.min(options.maxModelLen ?? config.maxPositionEmbeddings, config.maxPositionEmbeddings)
  const limits = {
    maxBatchedTokens: Math.min(options.maxBatchedTokens, MAX_WORKGROUPS),
    maxSequences,
    maxLogitRows: maxSequences + SCORE_ROWS,
    maxModelLen,
    blockSize,
    vocabSize: config.vocabSize
  }
  const planned = planAttention(config, storage, capabilities, { tensorCores, deterministic, blockSize })
  const { sharedAttention = true } = options
  const attention = sharedAttention ? planned : { ...planned, groups: [] }
  const groups = groupLayout(attention, config, storage, capabilities)
  const stepLayout = {
    tileTokens: tileTokens(attention),
    split: chooseSplit(attention, config.numKVHeads),
    partialSplits: partialSplits(config, limits, capabilities.maxBindingBytes),
    groups: groups === undefined ? undefined : { ...groups, leastSavedKeys: options.leastSavedKeys ?? groups.leastSavedKeys }
  }
  return {
    storage,
    activation: tensorCores ? 'f16' : 'f32',
    layout: tensorCores ? 'tiled' : 'interleaved',
    limits,
    attention,
    deterministic,
    partedProducts: !deterministic && normBehind(config) !== undefined,
    stepLayout,
    stepWords: new StepPacker({ ...limits, numKVBlocks: 0 }, stepLayout).maxWords,
    // A sequence's last block is its own, however little of it is used.
    kv: { config, blockSize, storage, kvCacheBytes, wantedTokens: maxSequences * Math.ceil(maxModelLen / blockSize) * blockSize, leastTokens: maxModelLen }
  }
}

/** The norm that reads projections into the residual stream: they must be neither scaled nor normalised on the way. One with a bias adds itself whole. Experts need their rows normalised. */
export function normBehind ({ norm, residualScale, layers }: Pick<ModelConfig, 'norm' | 'residualScale' | 'layers'>): NormBehind | undefined {
  if (norm.placement !== 'before' || residualScale !== 1) return undefined
  return layers.every(({ mlp }) => mlp === 'dense') ? 'deferred' : 'parted'
}

/** Kernels load four values at a time, and would leave out the rest of a row without a word. */
function refuseRaggedSizes ({ hiddenSize, intermediateSize, headDim }: ModelConfig): void {
  for (const [field, value] of Object.entries({ hidden_size: hiddenSize, intermediate_size: intermediateSize, head_dim: headDim })) {
    if (value % 4 !== 0) throw new UnsupportedModelError({ field, value, supported: 'multiples of 4' })
  }
}

/** Software adapters compute in f32 whatever is stored: f16 only costs them conversions. */
function chooseStorage ({ capabilities: { f16, software }, report: { name } }: PlannedDevice, dtype: EngineOptions['dtype']): StorageType {
  if (dtype === 'f16' && !f16) throw new UnsupportedModelError({ field: '--dtype', value: 'f16', supported: `f32 on ${name}, which does not compute in f16` })
  return dtype === 'auto' ? (f16 && !software ? 'f16' : 'f32') : dtype
}
