import type { CommandList } from '../kernels/command-list.ts'
import { checkExpertConfig } from '../kernels/experts/expert-config.ts'
import type { ExpertConfig } from '../kernels/experts/expert-config.ts'
import { combineExperts, groupExperts, routeExperts, routeLogits } from '../kernels/experts/expert-kernels.ts'
import { expertTilesAlongY } from '../kernels/experts/expert-matmul.ts'
import { chooseVariant, expertVariants, maxExpertTiles } from '../kernels/experts/expert-variants.ts'
import type { ExpertVariant } from '../kernels/experts/expert-variants.ts'
import type { Pipeline } from '../kernels/pipeline-cache.ts'
import type { Bindings } from '../kernels/define-kernel.ts'
import type { StepShape } from '../step-inputs.ts'
import type { ExpertWeights } from '../weights/expert-weights.ts'
import type { ActivationBuffers } from './activation-buffers.ts'
import type { ExpertBuffers } from './expert-buffers.ts'
import type { LayerContext } from './layer-context.ts'

export type { ExpertConfig } from '../kernels/experts/expert-config.ts'

/** One layer's weights on the device. */
export interface ExpertMlpWeights {
  /** `[experts][hidden]` f32, row-major as the checkpoint has it. */
  readonly router: GPUBuffer
  /** Gate and up projections of every expert. */
  readonly gateUp: ExpertWeights
  readonly down: ExpertWeights
}

export interface ExpertMlpContext extends Pick<LayerContext, 'device' | 'pipelines'> {
  readonly buffers: Pick<ActivationBuffers, 'step' | 'normed' | 'residual'>
}

/** A kernel with what it reads and writes. */
interface Bound {
  readonly pipeline: Pipeline<Bindings>
  readonly group: GPUBindGroup
}

interface Variant extends Pick<ExpertVariant, 'rows' | 'columns' | 'upTo'> {
  readonly route: Bound
  /** None where tiles have one row: the route makes those. */
  readonly group: Bound | undefined
  /** One for each part of the weight. */
  readonly gateUp: readonly Bound[]
  readonly down: readonly Bound[]
}

/**
 * residual += Σ over a token's experts of share · down_e(activation(gate_e x) · up_e x), x the normed rows. Six dispatches, one
 * less for tiles of one row, and one more for every further part of a weight; the choice of experts never leaves the device.
 * Batch invariant: a token's bits depend on neither its neighbours nor how many there are.
 */
export class ExpertMlp {
  readonly #config: ExpertConfig
  readonly #weights: ExpertMlpWeights
  readonly #logits: Bound
  readonly #combine: Bound
  readonly #variants: readonly Variant[]

  private constructor (config: ExpertConfig, weights: ExpertMlpWeights, logits: Bound, combine: Bound, variants: readonly Variant[]) {
    this.#config = config
    this.#weights = weights
    this.#logits = logits
    this.#combine = combine
    this.#variants = variants
  }

  /**
   * Compiles every variant the layer can use; layers of one shape share them.
   * @throws UnsupportedModelError, InvalidShaderError
   */
  static async create (context: ExpertMlpContext, config: ExpertConfig, weights: ExpertMlpWeights, buffers: ExpertBuffers): Promise<ExpertMlp> {
    checkExpertConfig(config)
    const { device, pipelines } = context
    const { step, normed, residual } = context.buffers
    const { logits, chosen, share, pairs, tiles, gated, outputs } = buffers
    const { numExperts, expertsPerToken, hiddenSize, intermediateSize } = config
    const { software } = device.capabilities
    const sizes = { NUM_EXPERTS: numExperts, TOP_K: expertsPerToken }
    const bind = <B extends Bindings>(pipeline: Pipeline<B>, bound: Parameters<Pipeline<B>['bind']>[0]): Bound => ({ pipeline, group: pipeline.bind(bound) })
    const [score, combine, ...variants] = await Promise.all([
      pipelines.get(routeLogits, { HIDDEN_SIZE: hiddenSize, NUM_EXPERTS: numExperts }),
      pipelines.get(combineExperts, { HIDDEN_SIZE: hiddenSize, TOP_K: expertsPerToken }),
      ...expertVariants(config, device).map(async ({ rows, columns, upTo, gateUp, down }) => {
        const singles = rows === 1
        const [route, group, toGated, toOutputs] = await Promise.all([
          pipelines.get(routeExperts, { ...sizes, NORMALIZE: Number(config.normalizeTopK), SINGLES: Number(singles), THREADS: software ? 32 : 128 }),
          singles ? undefined : pipelines.get(groupExperts, { ...sizes, TILE_ROWS: rows, THREADS: software ? 32 : 256 }),
          pipelines.get(gateUp, { K: hiddenSize, COLUMNS: intermediateSize, PAIRS_PER_ROW: expertsPerToken }),
          pipelines.get(down, { K: intermediateSize, COLUMNS: hiddenSize, PAIRS_PER_ROW: 1 })
        ])
        return {
          rows,
          columns,
          upTo,
          route: bind(route, { logits, step, chosen, share, pairs, tiles }),
          group: group === undefined ? undefined : bind(group, { chosen, step, pairs, tiles }),
          gateUp: weights.gateUp.parts.map(({ buffer, extent }) => bind(toGated, { x: normed, weight: buffer, part: extent, pairs, tiles, y: gated })),
          down: weights.down.parts.map(({ buffer, extent }) => bind(toOutputs, { x: gated, weight: buffer, part: extent, pairs, tiles, y: outputs }))
        }
      })
    ])
    return new ExpertMlp(config, weights,
      bind(score, { x: normed, router: weights.router, step, logits }),
      bind(combine, { y: outputs, share, step, residual }),
      variants)
  }

  record (list: CommandList, { tokens }: Pick<StepShape, 'tokens'>): void {
    const variant = chooseVariant(this.#variants, tokens, this.#config)
    if (variant === undefined || tokens === 0) return
    const { numExperts, hiddenSize } = this.#config
    const dispatch = (label: string, { pipeline, group }: Bound, grid: readonly [number, number, number]): void => list.dispatch(label, pipeline, group, grid)
    const tiles = maxExpertTiles(tokens, variant.rows, this.#config)
    const product = (label: string, weight: ExpertWeights, bound: readonly Bound[]): void => bound.forEach((part, i) => {
      const columns = Math.ceil((weight.parts[i]?.columns ?? 0) / variant.columns)
      dispatch(label, part, [columns, Math.min(tiles, expertTilesAlongY), Math.ceil(tiles / expertTilesAlongY)])
    })
    dispatch('route_logits', this.#logits, [Math.ceil(numExperts / 4), Math.ceil(tokens / 4), 1])
    dispatch('route_experts', variant.route, [tokens, 1, 1])
    if (variant.group !== undefined) dispatch('group_experts', variant.group, [numExperts, 1, 1])
    product('expert_gate_up', this.#weights.gateUp, variant.gateUp)
    product('expert_down', this.#weights.down, variant.down)
    dispatch('combine_experts', this.#combine, [Math.ceil(hiddenSize / 256), tokens, 1])
  }
}
