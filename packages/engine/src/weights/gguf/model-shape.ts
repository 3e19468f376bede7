import { InvalidCheckpointError, UnsupportedModelError } from '../../errors.ts'
import type { GgufTensorEntry } from './tensor-infos.ts'
import type { MetadataFields } from './metadata-fields.ts'

/** The sizes that the names, views and fields of a model depend on. */
export interface ModelShape {
  readonly hiddenSize: number
  readonly numLayers: number
  readonly numHeads: number
  readonly numKVHeads: number
  readonly headDim: number
  /** Dimensions of a head that are rotated. */
  readonly rotaryDim: number
  readonly vocabSize: number
  /** 0 where the model has no experts. */
  readonly numExperts: number
  /** The file also holds what turns images into the model's inputs. */
  readonly seesImages: boolean
}

const EMBEDDING = 'token_embd.weight'
// Twice what the largest published mixture has.
const MAX_EXPERTS = 1_024

/**
 * @throws InvalidCheckpointError when a size is missing or impossible
 * @throws UnsupportedModelError when keys and values differ in size
 */
export function readModelShape (metadata: MetadataFields, tensors: ReadonlyMap<string, GgufTensorEntry>): ModelShape {
  const hiddenSize = metadata.integer('.embedding_length', 1)
  const numHeads = metadata.integer('.attention.head_count', 1)
  const headDim = metadata.optionalInteger('.attention.key_length', 1) ?? hiddenSize / numHeads
  if (!Number.isInteger(headDim)) metadata.refuse('.attention.head_count', `is ${numHeads}, which does not divide embedding_length (${hiddenSize})`)
  const valueLength = metadata.optionalInteger('.attention.value_length', 1) ?? headDim
  if (valueLength !== headDim) {
    throw new UnsupportedModelError({ field: `${metadata.architecture}.attention.value_length`, value: valueLength, supported: `that of keys, ${headDim}` })
  }
  const embedding = tensors.get(EMBEDDING)
  if (embedding === undefined) throw new InvalidCheckpointError(metadata.file, 'is missing', { tensor: EMBEDDING })
  const numKVHeads = metadata.optionalInteger('.attention.head_count_kv', 1) ?? numHeads
  const rotaryDim = metadata.optionalInteger('.rope.dimension_count', 1) ?? headDim
  if (rotaryDim > headDim || rotaryDim % 2 !== 0) metadata.refuse('.rope.dimension_count', `is ${rotaryDim}; expected an even number of at most ${headDim}`)
  const numLayers = metadata.integer('.block_count', 1)
  if (numLayers > tensors.size) metadata.refuse('.block_count', `is ${numLayers} in a file of ${tensors.size} tensors`)
  const numExperts = metadata.optionalInteger('.expert_count', 0) ?? 0
  if (numExperts > MAX_EXPERTS) metadata.refuse('.expert_count', `is ${numExperts}; at most ${MAX_EXPERTS} are allowed`)
  return {
    hiddenSize,
    numLayers,
    numHeads,
    numKVHeads,
    headDim,
    rotaryDim,
    // Rows of the embedding: lists of tokens may be shorter, where a model's vocabulary was padded.
    vocabSize: embedding.shape[0] ?? 0,
    numExperts,
    seesImages: [...tensors.keys()].some(name => name.startsWith('v.'))
  }
}
