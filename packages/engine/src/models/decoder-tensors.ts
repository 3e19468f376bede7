import type { ModelConfig } from './model-config.ts'
import { familyOf } from './parse-model-config.ts'
import type { TensorNames } from './tensor-names.ts'

/** One tensor a model needs, by its Hugging Face name. */
export interface TensorSpec {
  readonly name: string
  /** Of the stored tensor, row-major: a projection is `[outputs, inputs]`, as PyTorch's Linear stores it. */
  readonly shape: readonly number[]
  /** The rows meant, where a projection is stored together with others. */
  readonly rows?: { readonly first: number, readonly count: number }
}

/** A projection and its bias. */
export interface ProjectionTensors { readonly weight: TensorSpec, readonly bias: TensorSpec | undefined }

export interface ExpertTensors { readonly gate: TensorSpec, readonly up: TensorSpec, readonly down: TensorSpec }

export type MlpTensors =
  | { readonly type: 'dense', readonly gate: ProjectionTensors, readonly up: ProjectionTensors, readonly down: ProjectionTensors }
  | { readonly type: 'experts', readonly router: TensorSpec, readonly experts: readonly ExpertTensors[] }

export interface LayerTensors {
  readonly beforeAttention: TensorSpec | undefined
  readonly query: ProjectionTensors
  readonly key: ProjectionTensors
  readonly value: ProjectionTensors
  readonly queryNorm: TensorSpec | undefined
  readonly keyNorm: TensorSpec | undefined
  readonly output: ProjectionTensors
  readonly afterAttention: TensorSpec | undefined
  readonly beforeMlp: TensorSpec | undefined
  readonly mlp: MlpTensors
  readonly afterMlp: TensorSpec | undefined
}

/** Every tensor of a decoder, by the part it plays. */
export interface DecoderTensors {
  readonly embedding: TensorSpec
  readonly layers: readonly LayerTensors[]
  readonly finalNorm: TensorSpec
  /** The same object as `embedding` when the two are tied. */
  readonly head: TensorSpec
}

/** The tensors a model of this configuration is made of. */
export function decoderTensors (config: ModelConfig): DecoderTensors {
  const { names } = familyOf(config.architecture)
  const { hiddenSize, vocabSize, norm } = config
  const embedding = { name: `${names.prefix}embed_tokens.weight`, shape: [vocabSize, hiddenSize] }
  const hidden = (name: string | undefined): TensorSpec | undefined => name === undefined ? undefined : { name: `${name}.weight`, shape: [hiddenSize] }
  const layers = config.layers.map(({ mlp }, layer): LayerTensors => {
    const at = (part: string): string => `${names.prefix}layers.${layer}.${part}`
    const placed = (name: string | undefined): TensorSpec | undefined => hidden(name === undefined ? undefined : at(name))
    const { beforeAttention, afterAttention, beforeMlp, afterMlp } = names.norms
    return {
      ...attentionTensors(config, names, at),
      beforeAttention: norm.placement === 'after' ? undefined : placed(beforeAttention),
      afterAttention: norm.placement === 'before' ? undefined : placed(afterAttention),
      beforeMlp: norm.placement === 'after' ? undefined : placed(beforeMlp),
      afterMlp: norm.placement === 'before' ? undefined : placed(afterMlp),
      mlp: mlp === 'experts' ? expertTensors(config, names, at) : denseTensors(config, names, at)
    }
  })
  return {
    embedding,
    layers,
    finalNorm: { name: `${names.prefix}norm.weight`, shape: [hiddenSize] },
    head: config.tieWordEmbeddings ? embedding : { name: `${names.head}.weight`, shape: [vocabSize, hiddenSize] }
  }
}

function attentionTensors (config: ModelConfig, { attention: names }: TensorNames, at: (part: string) => string): Pick<LayerTensors, 'query' | 'key' | 'value' | 'queryNorm' | 'keyNorm' | 'output'> {
  const { hiddenSize, numHeads, numKVHeads, headDim, attention } = config
  const [q, kv] = [numHeads * headDim, numKVHeads * headDim]
  const whole = q + 2 * kv
  const part = (name: string, first: number, count: number): ProjectionTensors => names.fused === undefined
    ? projection(at(name), [count, hiddenSize], attention.qkvBias)
    : projection(at(names.fused), [whole, hiddenSize], attention.qkvBias, { first, count })
  const norm = (name: string, width: number): TensorSpec | undefined => attention.qkNorm === undefined
    ? undefined
    : { name: `${at(name)}.weight`, shape: [attention.qkNorm === 'head' ? headDim : width] }
  return {
    query: part(names.query, 0, q),
    key: part(names.key, q, kv),
    value: part(names.value, q + kv, kv),
    queryNorm: norm(names.queryNorm, q),
    keyNorm: norm(names.keyNorm, kv),
    output: projection(at(names.output), [hiddenSize, q], attention.outputBias)
  }
}

function denseTensors ({ hiddenSize, intermediateSize, mlpBias }: ModelConfig, { mlp: names }: TensorNames, at: (part: string) => string): MlpTensors {
  const part = (name: string, first: number): ProjectionTensors => names.fused === undefined
    ? projection(at(name), [intermediateSize, hiddenSize], mlpBias)
    : projection(at(names.fused), [2 * intermediateSize, hiddenSize], mlpBias, { first, count: intermediateSize })
  return { type: 'dense', gate: part(names.gate, 0), up: part(names.up, intermediateSize), down: projection(at(names.down), [hiddenSize, intermediateSize], mlpBias) }
}

function expertTensors ({ architecture, hiddenSize, experts }: ModelConfig, { experts: names }: TensorNames, at: (part: string) => string): MlpTensors {
  if (names === undefined || experts === undefined) throw new TypeError(`${architecture} names no experts`)
  const { count, intermediateSize } = experts
  const weight = (name: string, ...shape: number[]): TensorSpec => ({ name: `${at(name)}.weight`, shape })
  return {
    type: 'experts',
    router: weight(names.router, count, hiddenSize),
    experts: Array.from({ length: count }, (_, expert) => ({
      gate: weight(names.gate(expert), intermediateSize, hiddenSize),
      up: weight(names.up(expert), intermediateSize, hiddenSize),
      down: weight(names.down(expert), hiddenSize, intermediateSize)
    }))
  }
}

function projection (name: string, shape: readonly number[], biased: boolean, rows?: TensorSpec['rows']): ProjectionTensors {
  const slice = rows === undefined ? {} : { rows }
  return {
    weight: { name: `${name}.weight`, shape, ...slice },
    bias: biased ? { name: `${name}.bias`, shape: shape.slice(0, 1), ...slice } : undefined
  }
}
