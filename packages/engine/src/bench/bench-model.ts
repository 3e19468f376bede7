import type { ForwardBatch, RunnerLimits } from '../contract.ts'
import type { GpuDevice } from '../device/gpu-device.ts'
import type { LoadProgress } from '../engine.ts'
import type { EnginePlan } from '../engine-plan.ts'
import { CommandList } from '../kernels/command-list.ts'
import type { Dispatch } from '../kernels/command-list.ts'
import type { ProductTable } from '../kernels/matmul/product-table.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'
import { blockBytesPerLayer } from '../kv-storage.ts'
import { fillRotaryTable } from '../layers/rotary-table.ts'
import { Sampler } from '../layers/sampler.ts'
import { allocateWorkspace } from '../layers/workspace.ts'
import type { Workspace } from '../layers/workspace.ts'
import { Decoder } from '../models/decoder.ts'
import type { DecoderWeights } from '../models/decoder-weights.ts'
import type { LayerConfig, ModelConfig } from '../models/model-config.ts'
import { synthesizeDecoder } from '../models/synthesize-decoder.ts'
import { StepPacker } from '../step-inputs.ts'
import type { StepShape } from '../step-inputs.ts'
import { measuredProducts } from '../tuning/measured-products.ts'
import { fillWithRandom } from '../weights/random-values.ts'

/** Dispatches that a step has once, not once a layer, by the first word of their labels: what else they do follows it. */
const ONCE: ReadonlySet<string> = new Set(['embedding', 'final_norm', 'head', 'sample_scan', 'sample_choose'])

/** A step as the engine records it, its inputs on the device and every buffer it reads written. */
export interface BenchStep extends Disposable {
  readonly shape: StepShape
  readonly labels: readonly string[]
  /** The dispatches of one label: a unit for each layer, which differ by their buffers. */
  units (label: string): ReadonlyArray<readonly Dispatch[]>
}

export interface StepRequest {
  readonly batch: ForwardBatch
  /** Of what all layers are. */
  readonly layer: LayerConfig
  /** Caches of keys and values to go through in turn; with more of them than layers, layers repeat. */
  readonly kvCopies: number
  /** Whether keys that sequences share are attended together, however few; undefined: as in the engine. */
  readonly together?: boolean | undefined
}

export interface BenchModelOptions {
  /** Instead of the plan's, which has as many as sequences that a server would run. */
  readonly maxLogitRows: number
  /** As in EngineOptions. */
  readonly tuningFolder: string | undefined
  readonly tune: boolean
  readonly onProgress: (progress: LoadProgress) => void
}

interface BenchModelParts {
  readonly gpu: GpuDevice
  readonly pipelines: PipelineCache
  readonly config: ModelConfig
  readonly plan: EnginePlan
  readonly weights: DecoderWeights
  readonly workspace: Workspace
  readonly products: ProductTable
}

/** A model of random weights that records steps as the engine does, to be taken apart. One step at a time: they share their buffers. */
export class BenchModel {
  readonly limits: RunnerLimits
  readonly #parts: BenchModelParts
  readonly #packers: Readonly<Record<'asEver' | 'together' | 'apart', StepPacker>>

  private constructor (parts: BenchModelParts, limits: RunnerLimits) {
    this.#parts = parts
    this.limits = limits
    const { groups, ...layout } = parts.plan.stepLayout
    this.#packers = {
      asEver: new StepPacker(limits, parts.plan.stepLayout),
      together: new StepPacker(limits, { ...layout, groups: groups === undefined ? undefined : { ...groups, leastSavedKeys: 0, rowsSaved: members => members - 1 } }),
      apart: new StepPacker(limits, { ...layout, groups: undefined })
    }
  }

  /** @throws OutOfDeviceMemoryError */
  static async create (gpu: GpuDevice, config: ModelConfig, planned: EnginePlan, { maxLogitRows, tuningFolder, tune, onProgress }: BenchModelOptions): Promise<BenchModel> {
    // Each step allocates the blocks that it needs, and is refused there if they are too many.
    const limits = { ...planned.limits, maxLogitRows, numKVBlocks: Number.MAX_SAFE_INTEGER }
    const plan = { ...planned, limits, stepWords: new StepPacker(limits, planned.stepLayout).maxWords }
    const pipelines = new PipelineCache(gpu, plan.storage, plan.activation)
    const weights = await synthesizeDecoder(1, config, { device: gpu, pipelines, storage: plan.storage, layout: plan.layout, onProgress })
    const workspace = await allocateWorkspace(gpu, config, plan)
    for (const [i, rotary] of config.rotaries.entries()) {
      const table = workspace.rotations[i]
      if (table !== undefined) fillRotaryTable(gpu, table, rotary, limits.maxModelLen)
    }
    const products = plan.deterministic ? {} : await measuredProducts(gpu, config, { pipelines, folder: tuningFolder, anew: tune, onProgress })
    return new BenchModel({ gpu, pipelines, config, plan, weights, workspace, products }, limits)
  }

  /** Bytes of keys and values that a step needs in each layer. */
  kvBytes ({ sequences }: ForwardBatch): number {
    const blocks = Math.max(...sequences.flatMap(({ blockTable }) => blockTable)) + 1
    return blocks * blockBytesPerLayer(this.#parts.config, this.limits.blockSize, this.#parts.plan.storage)
  }

  /**
   * Records a step and runs it once. Its dispatches stay valid until the next step.
   * @throws InvalidBatchError, OutOfDeviceMemoryError
   */
  async step ({ batch, layer, kvCopies, together }: StepRequest): Promise<BenchStep> {
    const { gpu, pipelines, config, plan, products, workspace: { buffers, rotations, experts } } = this.#parts
    const { shape, words } = this.#packers[together === undefined ? 'asEver' : together ? 'together' : 'apart'].pack(batch)
    gpu.queue.writeBuffer(buffers.step, 0, words)
    const kv: GPUBuffer[] = []
    const free = (): void => { for (const buffer of kv) buffer.destroy() }
    try {
      for (let copy = 0; copy < kvCopies; copy++) kv.push(await gpu.createStorage(`kv ${copy}`, this.kvBytes(batch)))
      await this.#fill(kv)
      const numLayers = Math.max(config.layers.length, kvCopies)
      const context = {
        device: gpu,
        pipelines,
        config: { ...config, layers: new Array<LayerConfig>(numLayers).fill(layer) },
        buffers,
        blockSize: this.limits.blockSize,
        attention: plan.attention,
        deterministic: plan.deterministic,
        products
      }
      const weights = { ...this.#parts.weights, layers: repeated(this.#parts.weights.layers, numLayers) }
      const decoder = await Decoder.create(context, weights, { kv: repeated(kv, numLayers), rotations, experts })
      const sampler = await Sampler.create(context, config.vocabSize)
      const list = new CommandList()
      decoder.record(list, shape)
      sampler.record(list, shape)
      this.#run(list)
      const labels = [...new Set(list.dispatches.map(({ label }) => label))]
      return { shape, labels, units: label => unitsOf(list.dispatches, label, numLayers), [Symbol.dispose]: free }
    } catch (error) {
      free()
      throw error
    }
  }

  /** The same random values in all of them. */
  async #fill ([first, ...others]: readonly GPUBuffer[]): Promise<void> {
    const { gpu, plan } = this.#parts
    if (first === undefined) return
    await fillWithRandom(gpu, first, plan.storage, 1, 1)
    const encoder = gpu.device.createCommandEncoder()
    for (const other of others) encoder.copyBufferToBuffer(first, 0, other, 0, first.size)
    gpu.queue.submit([encoder.finish()])
  }

  #run (list: CommandList): void {
    const { device, queue } = this.#parts.gpu
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    list.replay(pass)
    pass.end()
    queue.submit([encoder.finish()])
  }
}

function repeated<T> (items: readonly T[], length: number): T[] {
  return Array.from({ length }, (_, i) => items[i % items.length]).filter(item => item !== undefined)
}

/**
 * A weight that is split over several buffers takes several dispatches a layer, which belong together. Not every layer need have the
 * label: the first one's norm sums nothing, so that its label is its own.
 * @returns at least one, each of at least one dispatch; none where no dispatch has the label
 */
export function unitsOf (all: readonly Dispatch[], label: string, numLayers: number): ReadonlyArray<readonly Dispatch[]> {
  const dispatches = all.filter(dispatch => dispatch.label === label)
  const [name = label] = label.split(' ', 1)
  const perUnit = Math.max(1, Math.round(dispatches.length / (ONCE.has(name) ? 1 : numLayers)))
  return Array.from({ length: Math.ceil(dispatches.length / perUnit) }, (_, unit) => dispatches.slice(unit * perUnit, (unit + 1) * perUnit))
}
