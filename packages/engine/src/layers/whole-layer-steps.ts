import type { GpuDevice } from '../device/gpu-device.ts'
import type { CommandList } from '../kernels/command-list.ts'
import { emptySet, exchangeLayout, exchangeSet, exchangeSets } from '../kernels/layer/layer-exchange.ts'
import type { WholeLayerShape } from '../kernels/layer/layer-shape.ts'
import { wholeLayer } from '../kernels/layer/whole-layer.ts'
import type { Pipeline } from '../kernels/pipeline-cache.ts'
import type { DecoderLayerWeights, DecoderMemory } from '../models/decoder-weights.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { LayerContext } from './layer-context.ts'
import type { StallMark } from './stall-mark.ts'

type Bindings = ReturnType<typeof wholeLayer>['bindings']
interface LayerDispatch { readonly pipeline: Pipeline<Bindings>, readonly group: GPUBindGroup }

/** All layers of a decoder by one kernel of so many rows, one dispatch each. */
export class WholeLayerSteps implements Disposable {
  readonly #exchange: GPUBuffer
  readonly #setWords: number
  readonly #device: GpuDevice
  readonly #dispatches: readonly LayerDispatch[]
  readonly #workgroups: number

  private constructor (device: GpuDevice, exchange: GPUBuffer, setWords: number, dispatches: readonly LayerDispatch[], workgroups: number) {
    this.#device = device
    this.#exchange = exchange
    this.#setWords = setWords
    this.#dispatches = dispatches
    this.#workgroups = workgroups
  }

  /** To be reset before the first step. Undefined where the kernel does not fit the weights' buffers, or has more rows than a step of this engine. */
  static async create (context: LayerContext, shape: WholeLayerShape, weights: readonly DecoderLayerWeights[], memory: Pick<DecoderMemory, 'kv' | 'rotations'>): Promise<WholeLayerSteps | undefined> {
    const { device, config } = context
    const layers = weights.map((layer, i) => layerBuffers(context, layer, i, memory))
    // Rows behind the last are read, and not used.
    if (!layers.every(layer => layer !== undefined) || context.buffers.residual.size < 4 * shape.rows * shape.hiddenSize) return undefined
    const { words } = exchangeLayout(shape)
    const sets = exchangeSets(layers.length)
    const exchange = await device.createStorage('exchange', 4 * sets * words)
    const setOf = (layer: number): GPUBufferBinding => ({ buffer: exchange, offset: 4 * words * exchangeSet(layer, layers.length), size: 4 * words })
    const kernel = wholeLayer(shape)
    const compile = async (buffers: LayerBuffers, i: number): Promise<LayerDispatch> => {
      const pipeline = await context.pipelines.get(kernel, {
        EPS: config.norm.eps,
        SCALE: config.attention.scale,
        BLOCK_SIZE: context.blockSize,
        WINDOW: config.layers[i]?.window ?? 0
      })
      return { pipeline, group: pipeline.bind({ ...buffers, exchange: setOf(i), emptied: setOf((i + layers.length - 1) % layers.length) }) }
    }
    const dispatches = await Promise.all(layers.map(compile)).catch((error: unknown) => {
      exchange.destroy()
      throw error
    })
    return new WholeLayerSteps(device, exchange, words, dispatches, shape.workgroups)
  }

  record (list: CommandList): void {
    for (const { pipeline, group } of this.#dispatches) list.dispatch('whole layer', pipeline, group, [this.#workgroups, 1, 1])
  }

  /**
   * Empties the exchange, as it is before the first step, and takes the mark of a wait that was given up off.
   * @param patience looks of a wait before it is given up
   */
  reset (patience: number): void {
    for (let at = 0; at < this.#exchange.size; at += 4 * this.#setWords) this.#device.queue.writeBuffer(this.#exchange, at, emptySet(this.#setWords, patience))
  }

  /** A wait that was given up: a workgroup was not running beside the others, and the results are none. In the last layer's set, since each takes the mark over from the one before. */
  get stallMark (): StallMark {
    const layers = this.#dispatches.length
    return { buffer: this.#exchange, offset: 4 * this.#setWords * exchangeSet(layers - 1, layers) }
  }

  [Symbol.dispose] (): void {
    this.#exchange.destroy()
  }
}

type LayerBuffers = { readonly [K in Exclude<keyof Bindings, 'exchange' | 'emptied'>]: GPUBuffer }

/** What a layer's dispatch reads and writes; undefined where a weight is in several buffers, or in another layout. */
function layerBuffers ({ config, buffers }: LayerContext, { qkv, qkNorm, output, mlp, beforeAttention, beforeMlp }: DecoderLayerWeights, index: number, { kv, rotations }: Pick<DecoderMemory, 'kv' | 'rotations'>): LayerBuffers | undefined {
  if (mlp.type !== 'dense' || beforeAttention === undefined || beforeMlp === undefined) return undefined
  const keysValues = kv[index]
  const rotation = rotations[config.layers[index]?.rotary ?? NaN]
  const [wQKV, wOutput, wGateUp, wDown] = [qkv, output, mlp.gateUp, mlp.down].map(({ weight }) => onlyBuffer(weight))
  if (keysValues === undefined || rotation === undefined || wQKV === undefined || wOutput === undefined || wGateUp === undefined || wDown === undefined) return undefined
  const { step, residual: x, nothing } = buffers
  return {
    step,
    x,
    rotation,
    kv: keysValues,
    norm_attention: beforeAttention,
    norm_mlp: beforeMlp,
    bias: qkv.bias ?? nothing,
    qk_norm: qkNorm ?? nothing,
    w_qkv: wQKV,
    w_output: wOutput,
    w_gate_up: wGateUp,
    w_down: wDown
  }
}

function onlyBuffer ({ layout, parts }: LinearWeight): GPUBuffer | undefined {
  return layout === 'tiled' && parts.length === 1 ? parts[0]?.buffer : undefined
}
