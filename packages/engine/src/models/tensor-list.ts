import type { WeightFormat } from '../engine.ts'
import type { WeightTensor } from '../weights/weight-tensor.ts'
import type { DecoderTensors, LayerTensors, TensorSpec } from './decoder-tensors.ts'
import { decoderTensors } from './decoder-tensors.ts'
import type { ModelConfig } from './model-config.ts'
import { familyOf } from './parse-model-config.ts'

/** Every stored tensor once, in the order of use. */
export function listTensors (tensors: DecoderTensors): readonly TensorSpec[] {
  const { embedding, layers, finalNorm, head } = tensors
  const all = [embedding, ...layers.flatMap(listLayer), finalNorm, head]
  return [...new Map(all.map(spec => [spec.name, { name: spec.name, shape: spec.shape }])).values()]
}

function listLayer (layer: LayerTensors): readonly TensorSpec[] {
  const { beforeAttention, query, key, value, queryNorm, keyNorm, output, afterAttention, beforeMlp, mlp, afterMlp } = layer
  const projections = [query, key, value, output, ...mlp.type === 'dense' ? [mlp.gate, mlp.up, mlp.down] : []]
  const experts = mlp.type === 'experts' ? [mlp.router, ...mlp.experts.flatMap(({ gate, up, down }) => [gate, up, down])] : []
  return [beforeAttention, ...projections.flatMap(({ weight, bias }) => [weight, bias]), queryNorm, keyNorm, afterAttention, beforeMlp, ...experts, afterMlp]
    .filter(spec => spec !== undefined)
}

/** Number of weights, a tied head counted once. */
export function countParameters (config: ModelConfig): number {
  const sizes = listTensors(decoderTensors(config)).map(({ shape }) => shape.reduce((size, dimension) => size * dimension, 1))
  return sizes.reduce((total, size) => total + size, 0)
}

/**
 * Tensors a checkpoint may carry beside the listed ones, because they are recomputed, tied, or belong to another modality:
 * rotary frequencies written by old exporters, and the head of a model whose head is its embedding.
 */
export function isRedundantTensor (name: string, config: ModelConfig): boolean {
  const { names } = familyOf(config.architecture)
  return name.endsWith('.rotary_emb.inv_freq') || (config.tieWordEmbeddings && name === `${names.head}.weight`) || names.ignored?.test(name) === true
}

/** What a model's files store its weights as, the largest share first. */
export function weightFormats (tensors: ReadonlyMap<string, WeightTensor>, config: ModelConfig): readonly WeightFormat[] {
  const formats = new Map<string, { tensors: number, bytes: number }>()
  for (const { name } of listTensors(decoderTensors(config))) {
    const tensor = tensors.get(name)
    if (tensor === undefined) continue
    const { tensors: count, bytes } = formats.get(tensor.format) ?? { tensors: 0, bytes: 0 }
    formats.set(tensor.format, { tensors: count + 1, bytes: bytes + tensor.byteLength })
  }
  return [...formats].map(([format, sums]) => ({ format, ...sums })).sort((a, b) => b.bytes - a.bytes)
}
