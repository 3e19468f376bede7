import type { ForwardBatch } from '../contract.ts'
import type { StorageType } from '../engine.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { StepShape } from '../step-inputs.ts'
import type { SharedKeys } from './bench-batches.ts'

/** What a kernel must do: operands and results in bytes, each counted once, and floating-point operations. */
export interface KernelWork {
  readonly bytes: number
  readonly flops: number
}

/** A step as the work of its kernels depends on it. */
export interface StepWork {
  readonly config: ModelConfig
  readonly shape: StepShape
  readonly attended: AttendedKeys
  readonly storage: StorageType
  readonly activation: StorageType
}

export interface AttendedKeys {
  /** Keys that at least one query sees, over all sequences. */
  readonly keys: number
  /** Pairs of a query token and a key that it sees. */
  readonly pairs: number
}

/** @param window keys a query sees, itself included; undefined: all before it */
export function attendedKeys ({ sequences }: Pick<ForwardBatch, 'sequences'>, window = Infinity): AttendedKeys {
  let keys = 0
  let pairs = 0
  for (const { tokens, startPosition } of sequences) {
    const length = tokens?.length ?? 1
    keys += Math.min(startPosition + length, window + length - 1)
    for (let i = 0; i < length; i++) pairs += Math.min(startPosition + i + 1, window)
  }
  return { keys, pairs }
}

/**
 * The same where sequences share their first keys: what groups attend, what is left to each, and all of it.
 * @param numSequences that decode the last token of `context`
 */
export function sharedWork (numSequences: number, context: number, { keys, degree }: SharedKeys, window = Infinity): Readonly<Record<'together' | 'own' | 'all', AttendedKeys>> {
  const seen = Math.min(context, window)
  const own = Math.min(seen, context - keys)
  const together = { keys: Math.ceil(numSequences / degree) * (seen - own), pairs: numSequences * (seen - own) }
  const alone = { keys: numSequences * own, pairs: numSequences * own }
  return { together, own: alone, all: { keys: together.keys + alone.keys, pairs: together.pairs + alone.pairs } }
}

/**
 * Work of all of a step's dispatches of one label in one layer; undefined where that is not known beforehand, or not by this file.
 * The labels are those of decoder.ts and its layers.
 */
export function kernelWork (label: string, step: StepWork): KernelWork | undefined {
  return known[linearOf(label) ?? label]?.(step)
}

/** The products with weights, in the order of a step. */
const LINEAR_LABELS = ['qkv', 'output', 'gate_up', 'down', 'head'] as const
type LinearLabel = typeof LINEAR_LABELS[number]

/** What each weight's outputs and inputs are; gate and up projections are one weight. */
export function linearSizes ({ hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, vocabSize }: ModelConfig): Readonly<Record<LinearLabel, readonly [outputs: number, inputs: number]>> {
  return {
    qkv: [(numHeads + 2 * numKVHeads) * headDim, hiddenSize],
    output: [hiddenSize, numHeads * headDim],
    gate_up: [2 * intermediateSize, hiddenSize],
    down: [hiddenSize, intermediateSize],
    head: [vocabSize, hiddenSize]
  }
}

/** Which of them a dispatch computes; one may normalise its input on the way (normed-linear.ts). */
export function linearOf (label: string): LinearLabel | undefined {
  return LINEAR_LABELS.find(known => label === known || label === `${known} normed`)
}

const known: Readonly<Record<string, (step: StepWork) => KernelWork>> = {
  qkv: step => product('qkv', step.shape.tokens, 4, step),
  output: step => product('output', step.shape.tokens, branchBytes(step), step),
  gate_up: step => product('gate_up', step.shape.tokens, size(step.activation) / 2, step),
  down: step => product('down', step.shape.tokens, branchBytes(step), step),
  head: step => product('head', step.shape.logitRows, 4, step),

  attention_tile: attention,
  attention_group: attention,
  attention_split: attention,
  attention_reduce: ({ config: { numHeads, headDim }, shape: { singles, splits }, activation }) =>
    moved(singles * numHeads * (splits * (4 * headDim + 8) + size(activation) * headDim)),

  embedding: ({ config: { hiddenSize }, shape: { tokens }, storage }) => moved(tokens * hiddenSize * (size(storage) + 4)),
  attention_norm: norm,
  mlp_norm: norm,
  to_activation: norm,
  final_norm: ({ config: { hiddenSize }, shape: { logitRows }, activation }) => moved(logitRows * hiddenSize * (4 + size(activation))),
  attention_post_norm: branchNorm,
  mlp_post_norm: branchNorm,
  qk_norm: ({ config: { numHeads, numKVHeads, headDim }, shape: { tokens } }) => moved(tokens * (numHeads + numKVHeads) * headDim * 8),
  rope_kv_write: ({ config: { numHeads, numKVHeads, headDim }, shape: { tokens }, storage, activation }) =>
    moved(tokens * headDim * (4 * (numHeads + 2 * numKVHeads) + size(activation) * numHeads + size(storage) * 2 * numKVHeads)),

  // Of every 16 logits it writes one maximum.
  sample_scan: ({ config: { vocabSize }, shape: { logitRows } }) => moved(logitRows * vocabSize * (4 + 4 / 16))
}

/** @param perOutput bytes that an output of the weight moves */
function product (label: LinearLabel, rows: number, perOutput: number, { config, storage, activation }: StepWork): KernelWork {
  const [outputs, inputs] = linearSizes(config)[label]
  return { bytes: outputs * inputs * size(storage) + rows * inputs * size(activation) + rows * outputs * perOutput, flops: 2 * rows * outputs * inputs }
}

/** The residual stream is read and written; a branch that is normalised first is only written. */
function branchBytes ({ config }: StepWork): number {
  return config.norm.placement === 'before' ? 8 : 4
}

/** Keys and values once, queries and outputs; a product each of queries with keys and of weights with values. */
function attention ({ config: { numHeads, numKVHeads, headDim }, shape: { tokens }, attended: { keys, pairs }, storage, activation }: StepWork): KernelWork {
  return { bytes: headDim * (2 * keys * numKVHeads * size(storage) + 2 * tokens * numHeads * size(activation)), flops: 4 * pairs * numHeads * headDim }
}

function norm ({ config: { hiddenSize }, shape: { tokens }, activation }: StepWork): KernelWork {
  return moved(tokens * hiddenSize * (4 + size(activation)))
}

function branchNorm ({ config: { hiddenSize }, shape: { tokens } }: StepWork): KernelWork {
  return moved(tokens * hiddenSize * 12)
}

function moved (bytes: number): KernelWork {
  return { bytes, flops: 0 }
}

function size (type: StorageType): number {
  return type === 'f16' ? 2 : 4
}
