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
  /** Parts of K whose sums a product into the residual stream leaves to the norm behind it; 1: it adds to the stream itself. */
  readonly parts: Readonly<Record<'output' | 'down', number>>
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
  return known[label]?.(step)
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

/** Which of them a dispatch computes; what it does beside that stands behind a space: `qkv rotary`. */
export function linearOf (label: string): LinearLabel | undefined {
  const [product] = label.split(' ', 1)
  return LINEAR_LABELS.find(known => known === product)
}

const known: Readonly<Record<string, (step: StepWork) => KernelWork>> = {
  // Those that normalise x themselves read the residual stream, f32.
  qkv: step => product('qkv', step.shape.tokens, { x: size(step.activation), y: 4 }, step),
  'qkv normed': step => product('qkv', step.shape.tokens, { x: 4, y: 4 }, step),
  'qkv rotary': step => plus(product('qkv', step.shape.tokens, { x: step.shape.tokens === 1 ? 4 : size(step.activation), y: 0 }, step), rotatedBytes(step)),
  // Behind a deferred norm x is f16; before one it is written, too, beside the residual stream.
  'qkv behind norm': step => product('qkv', step.shape.tokens, { x: size(step.activation), y: 4 }, step),
  'qkv rotary behind norm': step => plus(product('qkv', step.shape.tokens, { x: size(step.activation), y: 0 }, step), rotatedBytes(step)),
  output: step => product('output', step.shape.tokens, { x: size(step.activation), y: branchBytes('output', step) }, step),
  'output merged': step => plus(product('output', step.shape.tokens, { x: 0, y: branchBytes('output', step) }, step), partialBytes(step)),
  'output before norm': step => product('output', step.shape.tokens, { x: size(step.activation), y: 8 + size(step.activation) }, step),
  gate_up: step => product('gate_up', step.shape.tokens, { x: size(step.activation), y: size(step.activation) / 2 }, step),
  'gate_up normed': step => product('gate_up', step.shape.tokens, { x: 4, y: size(step.activation) / 2 }, step),
  'gate_up behind norm': step => product('gate_up', step.shape.tokens, { x: size(step.activation), y: size(step.activation) / 2 }, step),
  'down before norm': step => product('down', step.shape.tokens, { x: size(step.activation), y: 8 + size(step.activation) }, step),
  down: step => product('down', step.shape.tokens, { x: size(step.activation), y: branchBytes('down', step) }, step),
  head: step => product('head', step.shape.logitRows, { x: size(step.activation), y: 4 }, step),
  'head normed': step => product('head', step.shape.logitRows, { x: 4, y: 4 }, step),

  // What its workgroups hand each other stays in a cache.
  'whole layer': step => sum([attention(step), ...(['qkv', 'output', 'gate_up', 'down'] as const).map(label => product(label, step.shape.tokens, { x: 0, y: 0 }, step)), moved(8 * step.shape.tokens * step.config.hiddenSize)]),

  attention_tile: attention,
  attention_group: attention,
  attention_split: attention,
  attention_reduce: merge,
  attention_merge: merge,

  embedding: ({ config: { hiddenSize }, shape: { tokens }, storage }) => moved(tokens * hiddenSize * (size(storage) + 4)),
  'embedding normed': ({ config: { hiddenSize }, shape: { tokens }, storage, activation }) => moved(tokens * hiddenSize * (size(storage) + 4 + size(activation))),
  attention_norm: norm,
  mlp_norm: norm,
  to_activation: norm,
  'attention_norm summed': step => summedNorm(step.parts.down, step),
  'mlp_norm summed': step => summedNorm(step.parts.output, step),
  final_norm: ({ config: { hiddenSize }, shape: { logitRows }, activation }) => moved(logitRows * hiddenSize * (4 + size(activation))),
  'final_norm summed': ({ config: { hiddenSize }, shape: { logitRows }, activation, parts }) => moved(logitRows * hiddenSize * (4 + 4 * parts.down + size(activation))),
  attention_post_norm: branchNorm,
  mlp_post_norm: branchNorm,
  qk_norm: ({ config: { numHeads, numKVHeads, headDim }, shape: { tokens } }) => moved(tokens * (numHeads + numKVHeads) * headDim * 8),
  rope_kv_write: step => {
    const { config: { numHeads, numKVHeads, headDim }, shape: { tokens } } = step
    return moved(tokens * headDim * 4 * (numHeads + 2 * numKVHeads) + rotatedBytes(step))
  },

  // Of every 16 logits it writes one maximum.
  sample_scan: ({ config: { vocabSize }, shape: { logitRows } }) => moved(logitRows * vocabSize * (4 + 4 / 16))
}

/** @param each bytes that an input and an output of each row move */
function product (label: LinearLabel, rows: number, each: { readonly x: number, readonly y: number }, { config, storage }: StepWork): KernelWork {
  const [outputs, inputs] = linearSizes(config)[label]
  return { bytes: outputs * inputs * size(storage) + rows * (inputs * each.x + outputs * each.y), flops: 2 * rows * outputs * inputs }
}

/** The residual stream is read and written; a branch that is normalised first, and parts that a norm adds up, are only written. */
function branchBytes (label: keyof StepWork['parts'], { config, parts }: StepWork): number {
  if (parts[label] > 1) return 4 * parts[label]
  return config.norm.placement === 'before' ? 8 : 4
}

/** Queries, keys and values where attention reads them. */
function rotatedBytes ({ config: { numHeads, numKVHeads, headDim }, shape: { tokens }, storage, activation }: StepWork): number {
  return tokens * headDim * (size(activation) * numHeads + size(storage) * 2 * numKVHeads)
}

/** Keys and values once, queries and outputs; a product each of queries with keys and of weights with values. */
function attention ({ config: { numHeads, numKVHeads, headDim }, shape: { tokens }, attended: { keys, pairs }, storage, activation }: StepWork): KernelWork {
  return { bytes: headDim * (2 * keys * numKVHeads * size(storage) + 2 * tokens * numHeads * size(activation)), flops: 4 * pairs * numHeads * headDim }
}

/** Parts of single tokens' attention: of their own keys, with those before a window, and from each group one for every row that it has room for. */
function partialBytes ({ config: { numHeads, headDim }, shape: { singles, splits, groups, groupSize } }: StepWork): number {
  return (singles * splits + groups * groupSize) * numHeads * (4 * headDim + 8)
}

function merge (step: StepWork): KernelWork {
  const { config: { numHeads, headDim }, shape: { singles }, activation } = step
  return moved(partialBytes(step) + singles * numHeads * headDim * size(activation))
}

function norm ({ config: { hiddenSize }, shape: { tokens }, activation }: StepWork): KernelWork {
  return moved(tokens * hiddenSize * (4 + size(activation)))
}

/** The residual stream is written, too. */
function summedNorm (parts: number, { config: { hiddenSize }, shape: { tokens }, activation }: StepWork): KernelWork {
  return moved(tokens * hiddenSize * (8 + 4 * parts + size(activation)))
}

function branchNorm ({ config: { hiddenSize }, shape: { tokens } }: StepWork): KernelWork {
  return moved(tokens * hiddenSize * 12)
}

function moved (bytes: number): KernelWork {
  return { bytes, flops: 0 }
}

function sum (works: readonly KernelWork[]): KernelWork {
  return works.reduce((all, work) => ({ bytes: all.bytes + work.bytes, flops: all.flops + work.flops }))
}

function plus (work: KernelWork, bytes: number): KernelWork {
  return { ...work, bytes: work.bytes + bytes }
}

function size (type: StorageType): number {
  return type === 'f16' ? 2 : 4
}
