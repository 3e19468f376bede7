import { UnknownModelShapeError } from '../errors.ts'
import type { ModelConfig } from './model-config.ts'
import type { Llama3RotaryScaling } from './rotary.ts'

/** Shapes that `--synthetic NAME` can build with random weights, so that speed can be measured without a download. */
export const MODEL_SHAPE_NAMES = Object.freeze([
  'daybreak-mini', 'smollm2-135m', 'tinyllama-1.1b', 'llama-3.2-1b', 'llama-3.2-3b', 'llama-3.1-8b'
] as const)

export type ModelShapeName = typeof MODEL_SHAPE_NAMES[number]

/**
 * The published shape of that name.
 * @throws UnknownModelShapeError naming the known ones
 */
export function namedShape (name: string): ModelConfig {
  const known = MODEL_SHAPE_NAMES.find(candidate => candidate === name)
  if (known === undefined) throw new UnknownModelShapeError({ shape: name, known: MODEL_SHAPE_NAMES })
  return SHAPES[known]
}

const llama = (shape: Omit<ModelConfig, 'architecture' | 'rmsNormEps' | 'torchDtype'>): ModelConfig =>
  Object.freeze({ architecture: 'LlamaForCausalLM', rmsNormEps: 1e-5, torchDtype: 'bfloat16', ...shape })

const llama3Scaling = (factor: number): Llama3RotaryScaling =>
  Object.freeze({ type: 'llama3', factor, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 })

const SHAPES: Readonly<Record<ModelShapeName, ModelConfig>> = Object.freeze({
  'daybreak-mini': llama({
    hiddenSize: 384,
    intermediateSize: 1024,
    numLayers: 8,
    numHeads: 6,
    numKVHeads: 2,
    headDim: 64,
    vocabSize: 2048,
    maxPositionEmbeddings: 8192,
    ropeTheta: 100_000,
    ropeScaling: undefined,
    tieWordEmbeddings: true,
    bosTokenIds: [1984],
    eosTokenIds: [1989]
  }),
  'smollm2-135m': llama({
    hiddenSize: 576,
    intermediateSize: 1536,
    numLayers: 30,
    numHeads: 9,
    numKVHeads: 3,
    headDim: 64,
    vocabSize: 49_152,
    maxPositionEmbeddings: 8192,
    ropeTheta: 100_000,
    ropeScaling: undefined,
    tieWordEmbeddings: true,
    bosTokenIds: [0],
    eosTokenIds: [0]
  }),
  'tinyllama-1.1b': llama({
    hiddenSize: 2048,
    intermediateSize: 5632,
    numLayers: 22,
    numHeads: 32,
    numKVHeads: 4,
    headDim: 64,
    vocabSize: 32_000,
    maxPositionEmbeddings: 2048,
    ropeTheta: 10_000,
    ropeScaling: undefined,
    tieWordEmbeddings: false,
    bosTokenIds: [1],
    eosTokenIds: [2]
  }),
  'llama-3.2-1b': llama({
    hiddenSize: 2048,
    intermediateSize: 8192,
    numLayers: 16,
    numHeads: 32,
    numKVHeads: 8,
    headDim: 64,
    vocabSize: 128_256,
    maxPositionEmbeddings: 131_072,
    ropeTheta: 500_000,
    ropeScaling: llama3Scaling(32),
    tieWordEmbeddings: true,
    bosTokenIds: [128_000],
    eosTokenIds: [128_001, 128_008, 128_009]
  }),
  'llama-3.2-3b': llama({
    hiddenSize: 3072,
    intermediateSize: 8192,
    numLayers: 28,
    numHeads: 24,
    numKVHeads: 8,
    headDim: 128,
    vocabSize: 128_256,
    maxPositionEmbeddings: 131_072,
    ropeTheta: 500_000,
    ropeScaling: llama3Scaling(32),
    tieWordEmbeddings: true,
    bosTokenIds: [128_000],
    eosTokenIds: [128_001, 128_008, 128_009]
  }),
  'llama-3.1-8b': llama({
    hiddenSize: 4096,
    intermediateSize: 14_336,
    numLayers: 32,
    numHeads: 32,
    numKVHeads: 8,
    headDim: 128,
    vocabSize: 128_256,
    maxPositionEmbeddings: 131_072,
    ropeTheta: 500_000,
    ropeScaling: llama3Scaling(8),
    tieWordEmbeddings: false,
    bosTokenIds: [128_000],
    eosTokenIds: [128_001, 128_008, 128_009]
  })
})
