import type { ExpertBuffers } from '../layers/expert-buffers.ts'
import type { ExpertMlpWeights } from '../layers/expert-mlp.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'

/** A projection's weight and bias on the device. */
export interface ProjectionWeights { readonly weight: LinearWeight, readonly bias: GPUBuffer | undefined }

export type MlpWeights =
  | {
    readonly type: 'dense'
    /** Gate and up projections as one gated weight. */
    readonly gateUp: ProjectionWeights
    readonly down: ProjectionWeights
  }
  | { readonly type: 'experts' } & ExpertMlpWeights

/** One decoder layer's weights on the device. */
export interface DecoderLayerWeights {
  readonly beforeAttention: GPUBuffer | undefined
  /** q, k and v projections stacked by rows. */
  readonly qkv: ProjectionWeights
  /** Queries' norm, then keys'. */
  readonly qkNorm: GPUBuffer | undefined
  readonly output: ProjectionWeights
  readonly afterAttention: GPUBuffer | undefined
  readonly beforeMlp: GPUBuffer | undefined
  readonly mlp: MlpWeights
  readonly afterMlp: GPUBuffer | undefined
}

export interface DecoderWeights {
  readonly embedding: LinearWeight
  readonly layers: readonly DecoderLayerWeights[]
  readonly finalNorm: GPUBuffer
  /** The same object as `embedding` when the two are tied. */
  readonly head: LinearWeight
}

/** What a decoder's layers read and write beside the activations. */
export interface DecoderMemory {
  /** One buffer per layer. */
  readonly kv: readonly GPUBuffer[]
  /** Angles, one table per entry of the configuration's `rotaries`. */
  readonly rotations: readonly GPUBuffer[]
  /** Present when a layer has experts. */
  readonly experts: ExpertBuffers | undefined
}
