import type { RunnerLimits } from '../contract.ts'
import type { StorageAllocator } from '../device/storage-allocator.ts'
import type { StorageType } from '../engine.ts'
import { attentionSplit } from '../kernels/attention/attention-order.ts'
import { rowScalesLength, rowSquaresLength } from '../kernels/matmul/deferred-norm.ts'
import { rowPadding } from '../kernels/matmul/matmul-interface.ts'
import { partSumRows } from '../kernels/matmul/mma-linear.ts'
import { sampleParts } from '../kernels/sample-kernels.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { resultWords } from '../step-inputs.ts'

/** Everything a step writes on its way through the model; one set, reused by every layer and step. T tokens, L logit rows. */
export interface ActivationBuffers {
  /** u32 words of the step inputs. */
  readonly step: GPUBuffer
  /** `[T][hidden]` f32, the residual stream. */
  readonly residual: GPUBuffer
  /** `[T][hidden]` act. */
  readonly normed: GPUBuffer
  /** `[T][q | k | v]` f32. */
  readonly qkv: GPUBuffer
  /** `[T][query head][D]` act, rotated and scaled. */
  readonly q: GPUBuffer
  /** `[T][query head][D]` act. */
  readonly attended: GPUBuffer
  /** `[part][partRows][hidden]` f32: what a projection will add to the residual stream, in parts of K; undefined where products have none. */
  readonly partialSums: GPUBuffer | undefined
  /** What norms that are deferred know of rows (matmul/deferred-norm.ts); empty where products have no parts either. */
  readonly rowScales: GPUBuffer
  readonly rowSquares: GPUBuffer
  /** `[T][intermediate]` act. */
  readonly gated: GPUBuffer
  /** `[T][hidden]` f32: what attention or MLP will add, in models that normalise it first. */
  readonly branch: GPUBuffer
  /** Bound where a kernel has nothing to read. */
  readonly nothing: GPUBuffer
  /** `[split][query head][D]` f32 and `[split][query head]` (max, sum). */
  readonly partialOut: GPUBuffer
  readonly partialMaxSum: GPUBuffer
  /** `[L][hidden]` act. */
  readonly headInput: GPUBuffer
  /** `[L][vocab]` f32. */
  readonly logits: GPUBuffer
  /** `[L][adjustedLength]` f32, logits as biases and penalties change them, and `[L][scanLength]` u32 (sample-kernels.ts). */
  readonly adjusted: GPUBuffer
  readonly scan: GPUBuffer
  /** `[state row][vocab]` u32 penalty counts. */
  readonly counts: GPUBuffer
  /** `[state row]` u32, the last sampled token. */
  readonly sampled: GPUBuffer
  /** `[L][resultWords]` u32. */
  readonly results: GPUBuffer
}

/** Partial results of split attention are capped: rows beyond are attended as tiles, more slowly. */
const MAX_PARTIAL_BYTES = 128 << 20

/** A few long sequences are cut into more splits than whole ones of `attentionSplit`: as many workgroups as attention-plan.ts ever asks for. */
const MOST_WORKGROUPS = 2048

/** Splits that the partial buffers hold. */
export function partialSplits (config: ModelConfig, limits: Pick<RunnerLimits, 'maxModelLen' | 'maxSequences'>, maxBindingBytes: number): number {
  const perSplit = config.numHeads * config.headDim * 4
  const wanted = Math.max(Math.ceil(MOST_WORKGROUPS / config.numKVHeads), limits.maxSequences * Math.ceil(limits.maxModelLen / attentionSplit))
  return Math.max(1, Math.min(wanted, Math.floor(Math.min(MAX_PARTIAL_BYTES, maxBindingBytes) / perSplit)))
}

/** @throws OutOfDeviceMemoryError */
export async function createActivationBuffers (
  device: StorageAllocator,
  config: ModelConfig,
  limits: Omit<RunnerLimits, 'numKVBlocks'>,
  activation: StorageType,
  stepWords: number,
  partedProducts: boolean
): Promise<ActivationBuffers> {
  const act = activation === 'f16' ? 2 : 4
  const tokens = Math.ceil(limits.maxBatchedTokens / rowPadding) * rowPadding
  const rows = Math.ceil(limits.maxLogitRows / rowPadding) * rowPadding
  const attended = config.numHeads * config.headDim
  const splits = partialSplits(config, limits, device.capabilities.maxBindingBytes)
  const { adjustedLength, scanLength } = sampleParts(config.vocabSize)
  const create = (label: string, bytes: number): Promise<GPUBuffer> => device.createStorage(label, bytes)
  return {
    step: await create('step inputs', 4 * stepWords),
    residual: await create('residual', 4 * tokens * config.hiddenSize),
    normed: await create('normed', act * tokens * config.hiddenSize),
    qkv: await create('qkv', 4 * tokens * (config.numHeads + 2 * config.numKVHeads) * config.headDim),
    // A tile of queries may begin at any row.
    q: await create('q', act * (tokens + rowPadding) * attended),
    attended: await create('attended', act * tokens * attended),
    partialSums: partedProducts ? await create('partial sums', 4 * partSumRows * config.hiddenSize) : undefined,
    rowScales: await create('row scales', partedProducts ? 4 * rowScalesLength : 0),
    rowSquares: await create('row squares', partedProducts ? 4 * rowSquaresLength(config.hiddenSize) : 0),
    gated: await create('gated', config.layers.some(({ mlp }) => mlp === 'dense') ? act * tokens * config.intermediateSize : 0),
    branch: await create('branch', config.norm.placement === 'before' ? 0 : 4 * tokens * config.hiddenSize),
    nothing: await create('nothing', 0),
    partialOut: await create('attention partials', 4 * splits * attended),
    partialMaxSum: await create('attention maxima', 8 * splits * config.numHeads),
    headInput: await create('head input', act * rows * config.hiddenSize),
    logits: await create('logits', 4 * limits.maxLogitRows * config.vocabSize),
    adjusted: await create('adjusted logits', 4 * limits.maxLogitRows * adjustedLength),
    scan: await create('scan of logits', 4 * limits.maxLogitRows * scanLength),
    counts: await create('penalty counts', 4 * limits.maxSequences * config.vocabSize),
    sampled: await create('sampled tokens', 4 * limits.maxSequences),
    results: await create('results', 4 * limits.maxLogitRows * resultWords)
  }
}
