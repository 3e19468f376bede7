import type { ExpertWeights } from '../weights/expert-weights.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { DecoderLayerWeights, DecoderWeights, MlpWeights, ProjectionWeights } from './decoder-weights.ts'
import { decoderTensors } from './decoder-tensors.ts'
import type { LayerTensors, MlpTensors, ProjectionTensors, TensorSpec } from './decoder-tensors.ts'
import type { ModelConfig } from './model-config.ts'

/** Makes weights on the device, one named group of tensors at a time: from files, or out of thin air. */
export interface WeightMaker {
  /** Tensors stacked by rows; with `gated`, gate and up of equal shape. */
  linear (label: string, tensors: readonly TensorSpec[], gated: boolean): Promise<LinearWeight>
  /** A tensor per expert, with `gated` two. */
  experts (label: string, experts: ReadonlyArray<readonly TensorSpec[]>, gated: boolean): Promise<ExpertWeights>
  /** Values one after the other in f32, each raised by `offset`. */
  values (label: string, kind: 'norm' | 'bias' | 'router', tensors: readonly TensorSpec[], offset?: number): Promise<GPUBuffer>
}

/** All weights of a decoder, in the order of use. */
export async function makeDecoder (config: ModelConfig, maker: WeightMaker): Promise<DecoderWeights> {
  const tensors = decoderTensors(config)
  const embedding = await maker.linear('embedding', [tensors.embedding], false)
  const layers: DecoderLayerWeights[] = []
  for (const [i, layer] of tensors.layers.entries()) layers.push(await makeLayer(config, layer, i, maker))
  return {
    embedding,
    layers,
    finalNorm: await maker.values('final norm', 'norm', [tensors.finalNorm], Number(config.norm.addsOne)),
    head: tensors.head === tensors.embedding ? embedding : await maker.linear('head', [tensors.head], false)
  }
}

async function makeLayer (config: ModelConfig, layer: LayerTensors, i: number, maker: WeightMaker): Promise<DecoderLayerWeights> {
  const norm = async (label: string, ...specs: ReadonlyArray<TensorSpec | undefined>): Promise<GPUBuffer | undefined> => {
    const present = specs.filter(spec => spec !== undefined)
    return present.length === 0 ? undefined : await maker.values(`${label} ${i}`, 'norm', present, Number(config.norm.addsOne))
  }
  return {
    beforeAttention: await norm('attention norm', layer.beforeAttention),
    qkv: await makeProjection(`qkv ${i}`, [layer.query, layer.key, layer.value], false, maker),
    qkNorm: await norm('query and key norms', layer.queryNorm, layer.keyNorm),
    output: await makeProjection(`output ${i}`, [layer.output], false, maker),
    afterAttention: await norm('attention post norm', layer.afterAttention),
    beforeMlp: await norm('mlp norm', layer.beforeMlp),
    mlp: await makeMlp(layer.mlp, i, maker),
    afterMlp: await norm('mlp post norm', layer.afterMlp)
  }
}

async function makeMlp (mlp: MlpTensors, i: number, maker: WeightMaker): Promise<MlpWeights> {
  if (mlp.type === 'dense') {
    return {
      type: 'dense',
      gateUp: await makeProjection(`gate up ${i}`, [mlp.gate, mlp.up], true, maker),
      down: await makeProjection(`down ${i}`, [mlp.down], false, maker)
    }
  }
  return {
    type: 'experts',
    router: await maker.values(`router ${i}`, 'router', [mlp.router]),
    gateUp: await maker.experts(`expert gate up ${i}`, mlp.experts.map(({ gate, up }) => [gate, up]), true),
    down: await maker.experts(`expert down ${i}`, mlp.experts.map(({ down }) => [down]), false)
  }
}

async function makeProjection (label: string, parts: readonly ProjectionTensors[], gated: boolean, maker: WeightMaker): Promise<ProjectionWeights> {
  const biases = parts.map(({ bias }) => bias).filter(bias => bias !== undefined)
  return {
    weight: await maker.linear(label, parts.map(({ weight }) => weight), gated),
    bias: biases.length === 0 ? undefined : await maker.values(`${label} bias`, 'bias', biases)
  }
}
