import type { RotaryConfig } from './rotary.ts'

/** How a checkpoint says its weights were stored; a hint for people, the tensors' own dtypes decide. */
export type TorchDtype = 'float32' | 'float16' | 'bfloat16'

export interface LayerConfig {
  /** Keys a query sees, itself included: positions p - window + 1 to p. Undefined: all before it. */
  readonly window: number | undefined
  /** Index into `rotaries`; undefined leaves queries and keys unturned (NoPE). */
  readonly rotary: number | undefined
  readonly mlp: 'dense' | 'experts'
}

export interface AttentionConfig {
  /** Multiplies scores before the softmax. */
  readonly scale: number
  /** Scores become `softcap · tanh(score / softcap)`. */
  readonly softcap: number | undefined
  readonly qkvBias: boolean
  readonly outputBias: boolean
  /** RMS norm of queries and keys before rotation: each head by itself, or the whole projection. */
  readonly qkNorm: 'head' | 'projection' | undefined
}

export interface NormConfig {
  readonly eps: number
  /** Before attention and MLP, after them (what they add), or both. */
  readonly placement: 'before' | 'after' | 'around'
  /** Weights are stored as their difference from one. */
  readonly addsOne: boolean
}

export interface ExpertsConfig {
  readonly count: number
  /** Experts each token goes to. */
  readonly perToken: number
  readonly intermediateSize: number
  /** Whether the chosen experts' weights are scaled to sum to one. */
  readonly normalizeTopK: boolean
}

/**
 * The architecture of one decoder model: every number its computation needs, in terms that all families share. Frozen.
 * A family (families/) translates its own config.json into it.
 */
export interface ModelConfig {
  /** As config.json names it. */
  readonly architecture: string
  readonly hiddenSize: number
  /** Width of the dense gated MLP. */
  readonly intermediateSize: number
  readonly numHeads: number
  /** Divides `numHeads`; each key/value head serves `numHeads / numKVHeads` query heads. */
  readonly numKVHeads: number
  /** Even. `numHeads · headDim` may differ from `hiddenSize`. */
  readonly headDim: number
  readonly vocabSize: number
  /** Longest context the model is meant for. */
  readonly maxPositionEmbeddings: number
  readonly layers: readonly LayerConfig[]
  readonly rotaries: readonly RotaryConfig[]
  readonly attention: AttentionConfig
  readonly norm: NormConfig
  readonly activation: 'silu' | 'gelu-tanh'
  readonly mlpBias: boolean
  /** Present when a layer has experts. */
  readonly experts: ExpertsConfig | undefined
  /** Multiplies embedded tokens. */
  readonly embeddingScale: number
  /** Multiplies what attention and MLP add to the residual stream. */
  readonly residualScale: number
  /** Multiplies logits, before their soft-cap. */
  readonly logitScale: number
  readonly logitSoftcap: number | undefined
  /** The output head is the embedding matrix. */
  readonly tieWordEmbeddings: boolean
  /** Empty when the configuration names none. */
  readonly bosTokenIds: readonly number[]
  /** Any of them ends a generation. Empty when the configuration names none. */
  readonly eosTokenIds: readonly number[]
  readonly torchDtype: TorchDtype | undefined
}
