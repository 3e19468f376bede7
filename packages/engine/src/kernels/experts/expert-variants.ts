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
  /** Most pairs an expert has on average for which this variant is chosen. */
  readonly upTo: number
  readonly gateUp: ExpertKernel
  readonly down: ExpertKernel
}

/**
 * The variants by ascending rows. On a GPU few rows get K cut side by side, since an expert alone has too few outputs to fill the
 * device; from some 32 rows an expert on, threads that walk through all of K are faster. Tiles of fewer than four rows serve only
 * as few tokens: a spare row costs less there than reading an expert twice. A software adapter has a few wide cores, where every
 * row costs: a thread a column, no barrier, at most four rows (matmul-variants.ts).
 *
 * Device time of both products on an H100, 128 experts of 768 × 2048, 8 a token, f16: 128 tokens in tiles of 8 rows 0.87 ms, of 16
 * rows in turn 1.37 ms; 2048 tokens in tiles of 16 rows in turn 8.7 ms, side by side 10.8 ms.
 */
export function expertVariants (config: ExpertConfig, device: Pick<GpuDevice, 'capabilities'>): ExpertVariant[] {
  const { software, maxWorkgroupBytes, maxWorkgroupThreads } = device.capabilities
  const gate: ExpertEpilogue = `${config.activation}-gate`
  const variant = (rows: number, columns: number, upTo: number, sideBySide: boolean): ExpertVariant => {
    const kernel = (k: number, epilogue: ExpertEpilogue): ExpertKernel => {
      const splits = software ? 1 : expertSplits(k)
      const bytes = 4 * rows * splits * columns * (epilogue === 'store' ? 1 : 2)
      // The same bits in turn, where there are fewer threads or bytes.
      const fits = bytes <= maxWorkgroupBytes && columns * splits <= maxWorkgroupThreads
      return expertMatmul({ rows, columns, splits, parallelSplits: sideBySide && fits, epilogue })
    }
    return { rows, columns, upTo, gateUp: kernel(config.hiddenSize, gate), down: kernel(config.intermediateSize, 'store') }
  }
  if (software) return [variant(1, 32, 1, false), variant(2, 32, 2, false), variant(4, 32, Infinity, false)]
  return [variant(1, 32, 0, true), variant(2, 32, 0, true), variant(4, 32, 4, true), variant(8, 16, 32, true), variant(16, 64, Infinity, false)]
}

/** Parts K is cut into on a GPU, by K alone. */
function expertSplits (k: number): number {
  return Math.min(16, Math.max(1, Math.floor(k / 64)))
}

/** The variant for a number of tokens. A token chooses an expert once, so tiles of as many rows as tokens read every weight once. */
export function chooseVariant<V extends Pick<ExpertVariant, 'rows' | 'upTo'>> (variants: readonly V[], tokens: number, config: ExpertConfig): V | undefined {
  const average = tokens * config.expertsPerToken / config.numExperts
  return variants.find(({ rows, upTo }) => rows >= tokens || average <= upTo)
}

/** The most tiles that group_experts.wgsl can make: each expert that is chosen at all wastes less than a tile. */
export function maxExpertTiles (tokens: number, rows: number, config: ExpertConfig): number {
  const pairs = tokens * config.expertsPerToken
  const chosen = Math.min(pairs, config.numExperts)
  return Math.min(Math.floor((pairs + chosen * (rows - 1)) / rows), config.numExperts * Math.ceil(tokens / rows))
}
