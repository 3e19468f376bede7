import type { GpuDevice } from '../../device/gpu-device.ts'
import type { ExpertConfig } from './expert-config.ts'
import { expertMatmul } from './expert-matmul.ts'
import type { ExpertEpilogue } from './expert-matmul.ts'

type ExpertKernel = ReturnType<typeof expertMatmul>

/** Kernels for tiles of so many rows; all variants give the same bits. */
export interface ExpertVariant {
  /** Pairs in a tile. */
  readonly rows: number
  /** Outputs a workgroup computes. */
  readonly columns: number
  readonly gateUp: ExpertKernel
  readonly down: ExpertKernel
}

/**
 * The variants by ascending rows. On a GPU K is cut side by side in each of them: experts have few rows each, and a thread that
 * walked through all of K would be one of too few. A software adapter has a few wide cores: a thread a column, no barrier, and at
 * most four rows (matmul-variants.ts).
 */
export function expertVariants (config: ExpertConfig, device: Pick<GpuDevice, 'capabilities'>): ExpertVariant[] {
  const { software, maxWorkgroupBytes } = device.capabilities
  const gate: ExpertEpilogue = `${config.activation}-gate`
  const variant = (rows: number, columns: number): ExpertVariant => {
    const kernel = (k: number, epilogue: ExpertEpilogue): ExpertKernel => {
      const splits = software ? 1 : expertSplits(k)
      const bytes = 4 * rows * splits * columns * (epilogue === 'store' ? 1 : 2)
      return expertMatmul({ rows, columns, splits, parallelSplits: !software && bytes <= maxWorkgroupBytes, epilogue })
    }
    return { rows, columns, gateUp: kernel(config.hiddenSize, gate), down: kernel(config.intermediateSize, 'store') }
  }
  return software
    ? [variant(1, 32), variant(2, 32), variant(4, 32)]
    : [variant(1, 32), variant(2, 32), variant(4, 32), variant(8, 16), variant(16, 16)]
}

/** Parts K is cut into on a GPU, by K alone. */
function expertSplits (k: number): number {
  return Math.min(16, Math.max(1, Math.floor(k / 64)))
}

/**
 * Rows a tile should hold for a number of tokens. A token chooses an expert once, so tiles of T rows read every weight once; but
 * rows that a tile lacks are computed all the same, so beyond a few, tiles hold about twice what an expert gets on average.
 * On a software adapter every row costs, and none is spare.
 */
export function chooseVariant<V extends { readonly rows: number }> (variants: readonly V[], tokens: number, config: ExpertConfig, software: boolean): V | undefined {
  const average = tokens * config.expertsPerToken / config.numExperts
  const wanted = Math.min(tokens, software ? average : Math.max(4, 2 * average))
  return variants.find(v => v.rows >= wanted) ?? variants.at(-1)
}

/** The most tiles that group_experts.wgsl can make: each expert that is chosen at all wastes less than a tile. */
export function maxExpertTiles (tokens: number, rows: number, config: ExpertConfig): number {
  const pairs = tokens * config.expertsPerToken
  const chosen = Math.min(pairs, config.numExperts)
  return Math.min(Math.floor((pairs + chosen * (rows - 1)) / rows), config.numExperts * Math.ceil(tokens / rows))
}
