import type { GpuDevice } from '../device/gpu-device.ts'
import type { CommandList } from '../kernels/command-list.ts'
import { longPatience } from '../kernels/layer/layer-exchange.ts'
import type { WholeLayerShape } from '../kernels/layer/layer-shape.ts'
import { fitsWholeLayer, wholeLayerBindings, wholeLayerBytes } from '../kernels/layer/whole-layer.ts'
import type { DecoderLayerWeights, DecoderMemory } from '../models/decoder-weights.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { StepShape } from '../step-inputs.ts'
import type { LayerContext } from './layer-context.ts'
import type { StallMark } from './stall-mark.ts'
import { WholeLayerSteps } from './whole-layer-steps.ts'

/** Rows that a kernel is written for, and how its work is dealt out. */
export type WholeLayerGrid = Pick<WholeLayerShape, 'rows' | 'workgroups' | 'teams' | 'ahead'>

/** How layers of so many single tokens, or a few less, are computed whole, and up to how many keys that is faster: 0 where it never is. */
export interface WholeLayerChoice extends WholeLayerGrid {
  readonly mostKeys: number
}

/** A choice and its kernel, which there is where it is used at all. */
interface ChosenSteps { readonly choice: WholeLayerChoice, readonly steps: WholeLayerSteps | undefined }

/** From so many rows on products run on tensor cores. */
const MATRIX_ROWS = 8

/** Bytes of workgroup memory that several rows pass through. More would leave too little for what else there is. */
const PIECE_BYTES = 33 << 10

/** The kernel's shape for a model; undefined where the model computes something else, or the adapter lacks what it takes. */
export function wholeLayerShape (config: ModelConfig, { capabilities, report }: Pick<GpuDevice, 'capabilities' | 'report'>, grid: WholeLayerGrid): WholeLayerShape | undefined {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, attention, norm, layers, rotaries } = config
  const plain = norm.placement === 'before' && config.residualScale === 1 && config.activation === 'silu' && !config.mlpBias &&
    !attention.outputBias && attention.softcap === undefined && attention.qkNorm !== 'projection' && layers.length > 1 &&
    layers.every(({ mlp, rotary }) => mlp === 'dense' && rotary !== undefined && rotaries[rotary]?.dim === headDim)
  // Direct3D's compiler may write a vector's component by writing all of it, and neighbours' with it.
  const lanes = report.backend !== 'd3d12' && capabilities.subgroups && report.subgroupMinSize === 32 && report.subgroupMaxSize === 32
  const matrices = grid.rows >= MATRIX_ROWS
  if (!plain || !lanes || (matrices && capabilities.narrowMatrix !== true) || (report.limits['maxStorageBuffersPerShaderStage'] ?? 0) < wholeLayerBindings) return undefined
  const shape = {
    hiddenSize,
    intermediateSize,
    numHeads,
    numKVHeads,
    headDim,
    qkvBias: attention.qkvBias,
    qkNorm: attention.qkNorm === 'head',
    matrices,
    pieceBytes: PIECE_BYTES,
    ...grid,
    subgroup: 32
  }
  const fits = fitsWholeLayer(shape) && 32 * grid.teams <= capabilities.maxWorkgroupThreads && (wholeLayerBytes(shape) ?? Infinity) <= capabilities.maxWorkgroupBytes
  return fits ? shape : undefined
}

/** All layers of a decoder, one dispatch each, for steps of a single token of each of a few sequences. */
export class WholeLayers implements Disposable {
  /** By rows, ascending. A step's is the first that has rows enough, even if that is none. */
  readonly #kernels: readonly ChosenSteps[]

  private constructor (kernels: readonly ChosenSteps[]) {
    this.#kernels = kernels
  }

  /** @returns undefined where no kernel fits the model, its weights' buffers or the adapter */
  static async create (context: LayerContext, choices: readonly WholeLayerChoice[], weights: readonly DecoderLayerWeights[], memory: Pick<DecoderMemory, 'kv' | 'rotations'>): Promise<WholeLayers | undefined> {
    if (context.deterministic) return undefined
    // All of them are waited for, so that all are freed.
    const created = await Promise.allSettled(choices.toSorted((a, b) => a.rows - b.rows).map(async (choice): Promise<ChosenSteps> => {
      const shape = choice.mostKeys === 0 ? undefined : wholeLayerShape(context.config, context.device, choice)
      return { choice, steps: shape === undefined ? undefined : await WholeLayerSteps.create(context, shape, weights, memory) }
    }))
    const kernels = created.flatMap(result => result.status === 'fulfilled' ? [result.value] : [])
    const failed = created.find(result => result.status === 'rejected')
    const whole = new WholeLayers(kernels)
    if (failed !== undefined) {
      whole[Symbol.dispose]()
      throw failed.reason
    }
    whole.reset(longPatience)
    return kernels.every(({ steps }) => steps === undefined) ? undefined : whole
  }

  /** Rows of the kernels, ascending. */
  get rows (): readonly number[] {
    return this.#kernels.flatMap(({ choice, steps }) => steps === undefined ? [] : [choice.rows])
  }

  takes (shape: StepShape): boolean {
    return this.#stepsFor(shape) !== undefined
  }

  record (list: CommandList, shape: StepShape): void {
    this.#stepsFor(shape)?.record(list)
  }

  /** Undefined where the step's layers are not computed whole. */
  stallMark (shape: StepShape): StallMark | undefined {
    return this.#stepsFor(shape)?.stallMark
  }

  /** As `WholeLayerSteps.reset`, for all. */
  reset (patience: number): void {
    for (const { steps } of this.#kernels) steps?.reset(patience)
  }

  #stepsFor ({ tokens, fewKeys, groups }: StepShape): WholeLayerSteps | undefined {
    if (fewKeys === 0 || groups > 0) return undefined
    const kernel = this.#kernels.find(({ choice }) => tokens <= choice.rows)
    return kernel !== undefined && fewKeys <= kernel.choice.mostKeys ? kernel.steps : undefined
  }

  [Symbol.dispose] (): void {
    for (const { steps } of this.#kernels) steps?.[Symbol.dispose]()
  }
}
