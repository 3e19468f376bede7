import { Attention } from '../layers/attention.ts'
import type { LayerContext } from '../layers/layer-context.ts'
import { Linear } from '../layers/linear.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { CommandList } from '../kernels/command-list.ts'
import { embedding, rmsNorm, ropeKVWrite } from '../kernels/model-kernels.ts'
import { layoutNumber } from '../kernels/matmul/weight-layout.ts'
import type { StepShape } from '../step-inputs.ts'

/** One decoder layer's weights on the device. */
export interface LlamaLayerWeights {
  readonly attentionNorm: GPUBuffer
  /** q, k and v projections stacked by rows. */
  readonly qkv: LinearWeight
  readonly output: LinearWeight
  readonly mlpNorm: GPUBuffer
  /** Gate and up projections as one gated weight. */
  readonly gateUp: LinearWeight
  readonly down: LinearWeight
}

export interface LlamaWeights {
  readonly embedding: LinearWeight
  readonly layers: readonly LlamaLayerWeights[]
  readonly finalNorm: GPUBuffer
  /** The same object as `embedding` when the two are tied. */
  readonly head: LinearWeight
}

type Recorder = (list: CommandList, shape: StepShape) => void

/**
 * LlamaForCausalLM as a list of dispatches: nine a layer, then the head for the rows that need logits. Reads the step inputs and
 * writes `buffers.logits`; every kernel is batch invariant, so a token's logits depend on its own sequence alone.
 */
export class Llama {
  readonly #recorders: readonly Recorder[]

  private constructor (recorders: readonly Recorder[]) {
    this.#recorders = recorders
  }

  /** Compiles every kernel variant the model can use. `kv` has one buffer per layer. */
  static async create (context: LayerContext, weights: LlamaWeights, kv: readonly GPUBuffer[], rotation: GPUBuffer): Promise<Llama> {
    const { config, pipelines, buffers, blockSize, device } = context
    const { numHeads, numKVHeads, headDim, hiddenSize } = config
    const options = { device, pipelines, logitRows: false }
    const step = buffers.step
    // A power of two, since sums are reduced by halves where there are no subgroups; not every adapter's limit is one.
    const normThreads = 2 ** Math.floor(Math.log2(Math.min(device.capabilities.maxWorkgroupThreads, device.capabilities.software ? 32 : hiddenSize >= 2048 ? 512 : 128)))
    const attention = await Attention.create(context)
    const [norm, gatherNorm, rope] = await Promise.all([
      pipelines.get(rmsNorm, { HIDDEN_SIZE: hiddenSize, EPS: config.rmsNormEps, GATHER: 0, THREADS: normThreads }),
      pipelines.get(rmsNorm, { HIDDEN_SIZE: hiddenSize, EPS: config.rmsNormEps, GATHER: 1, THREADS: normThreads }),
      pipelines.get(ropeKVWrite, { NUM_HEADS: numHeads, NUM_KV_HEADS: numKVHeads, HEAD_DIM: headDim, BLOCK_SIZE: blockSize, SCALE: 1 / Math.sqrt(headDim) })
    ])
    const pairs = (numHeads + 2 * numKVHeads) * headDim / 2
    const recorders: Recorder[] = []

    for (const part of weights.embedding.parts) {
      const gather = await pipelines.get(embedding, {
        HIDDEN_SIZE: hiddenSize,
        FIRST_ROW: part.firstColumn,
        ROWS: part.columns,
        LAYOUT: layoutNumber[weights.embedding.layout]
      })
      const group = gather.bind({ table: part.buffer, sampled: buffers.sampled, step, x: buffers.residual })
      recorders.push((list, shape) => list.dispatch('embedding', gather, group, [Math.ceil(hiddenSize / 256), shape.tokens, 1]))
    }

    for (const [i, layer] of weights.layers.entries()) {
      const keysValues = kv[i]
      if (keysValues === undefined) throw new TypeError(`layer ${i} has no KV buffer`)
      const [qkv, output, gateUp, down] = await Promise.all([
        Linear.create('qkv', layer.qkv, 'store', options, { x: buffers.normed, y: buffers.qkv, step }),
        Linear.create('output', layer.output, 'residual', options, { x: buffers.attended, y: buffers.residual, step }),
        Linear.create('gate_up', layer.gateUp, 'silu-gate', options, { x: buffers.normed, y: buffers.gated, step }),
        Linear.create('down', layer.down, 'residual', options, { x: buffers.gated, y: buffers.residual, step })
      ])
      const attend = attention.bind(keysValues)
      const attentionNorm = norm.bind({ x: buffers.residual, weight: layer.attentionNorm, step, y: buffers.normed })
      const mlpNorm = norm.bind({ x: buffers.residual, weight: layer.mlpNorm, step, y: buffers.normed })
      const ropeGroup = rope.bind({ qkv: buffers.qkv, rotation, step, q: buffers.q, kv: keysValues })
      recorders.push((list, shape) => {
        list.dispatch('attention_norm', norm, attentionNorm, [shape.tokens, 1, 1])
        qkv.record(list, shape.tokens)
        list.dispatch('rope_kv_write', rope, ropeGroup, [Math.ceil(pairs / 64), shape.tokens, 1])
        attend(list, shape)
        output.record(list, shape.tokens)
        list.dispatch('mlp_norm', norm, mlpNorm, [shape.tokens, 1, 1])
        gateUp.record(list, shape.tokens)
        down.record(list, shape.tokens)
      })
    }

    const head = await Linear.create('head', weights.head, 'store', { ...options, logitRows: true }, { x: buffers.headInput, y: buffers.logits, step })
    const finalNorm = gatherNorm.bind({ x: buffers.residual, weight: weights.finalNorm, step, y: buffers.headInput })
    recorders.push((list, shape) => {
      list.dispatch('final_norm', gatherNorm, finalNorm, [shape.logitRows, 1, 1])
      if (shape.logitRows > 0) head.record(list, shape.logitRows)
    })
    return new Llama(recorders)
  }

  record (list: CommandList, shape: StepShape): void {
    for (const record of this.#recorders) record(list, shape)
  }
}
