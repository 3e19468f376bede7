import { ANY_ROWS } from '../kernels/matmul/product-table.ts'
import type { ProductKernel } from '../kernels/matmul/product-table.ts'
import { MANY_COLUMNS } from '../kernels/matmul/matmul-variant.ts'

/** Numbers of rows that share a choice, and those they are measured with. */
export interface RowRange {
  readonly upTo: number
  readonly measuredRows: number
  readonly candidates: readonly ProductKernel[]
}

const few: readonly RowRange[] = [
  { upTo: 1, measuredRows: 1, candidates: [] },
  {
    upTo: 4,
    measuredRows: 4,
    candidates: [['vector', 4, 8, 8], ['vector', 4, 16, 4], ['staged', 1, 1, 8, 1, 1, 128], ['staged', 1, 1, 8, 1, 1, 512], ['staged', 1, 2, 2, 1, 2, 64], ['streamed', 1, 1, 8, 1, 2, 256], ['streamed', 1, 2, 4, 1, 2, 128]]
  },
  {
    upTo: 16,
    measuredRows: 8,
    candidates: [['staged', 1, 1, 8, 1, 1, 128], ['staged', 1, 1, 8, 1, 1, 512], ['staged', 1, 1, 16, 1, 1, 256], ['staged', 1, 2, 2, 1, 2, 64], ['streamed', 1, 1, 16, 1, 1, 512], ['streamed', 1, 1, 8, 1, 2, 256], ['streamed', 1, 1, 16, 1, 2, 512], ['streamed', 1, 4, 4, 1, 2, 256], ['streamed', 1, 2, 4, 1, 2, 128], ['streamed', 1, 4, 1, 1, 2, 64], ['streamed', 1, 4, 1, 1, 2, 128]]
  },
  {
    upTo: 32,
    measuredRows: 32,
    candidates: [['staged', 1, 1, 8, 2, 1, 128], ['staged', 1, 1, 16, 2, 1, 256], ['staged', 1, 2, 2, 2, 2, 64], ['staged', 1, 2, 1, 2, 4, 32], ['streamed', 1, 1, 8, 2, 2, 256], ['streamed', 1, 4, 4, 2, 2, 256], ['streamed', 1, 2, 4, 2, 2, 128], ['streamed', 1, 4, 1, 2, 2, 64], ['streamed', 1, 8, 1, 2, 1, 64]]
  },
  {
    upTo: 64,
    measuredRows: 64,
    candidates: [['staged', 1, 1, 8, 4, 1, 128], ['staged', 1, 1, 8, 4, 2, 128], ['staged', 2, 1, 4, 1, 2, 128], ['staged', 2, 4, 1, 2, 2, 64], ['staged', 2, 2, 1, 2, 4, 32], ['staged', 1, 4, 1, 4, 2, 32], ['streamed', 1, 2, 8, 4, 1, 128], ['streamed', 2, 4, 2, 2, 2, 128], ['streamed', 1, 4, 4, 4, 2, 128], ['streamed', 1, 4, 1, 4, 2, 64], ['staged', 2, 1, 8, 2, 2, 128]]
  },
  {
    upTo: 128,
    measuredRows: 128,
    candidates: [['staged', 1, 1, 8, 4, 2, 128], ['staged', 2, 2, 2, 2, 2, 128], ['staged', 2, 2, 2, 4, 2, 64], ['staged', 2, 2, 2, 4, 4, 32], ['staged', 2, 1, 4, 2, 2, 128], ['staged', 2, 4, 1, 4, 4, 32], ['streamed', 1, 8, 2, 4, 2, 128], ['streamed', 1, 8, 1, 4, 2, 64], ['streamed', 2, 8, 1, 4, 2, 64], ['streamed', 1, 4, 4, 4, 1, 128], ['staged', 4, 4, 1, 2, 2, 64], ['staged', 4, 1, 4, 2, 2, 64]]
  }
]

const many: readonly RowRange[] = [
  {
    upTo: 256,
    measuredRows: 256,
    candidates: [['staged', 4, 2, 1, 2, 2, 64], ['staged', 2, 2, 2, 4, 2, 64], ['staged', 2, 4, 1, 4, 2, 64], ['staged', 2, 4, 1, 4, 4, 32], ['staged', 2, 2, 1, 2, 4, 32], ['streamed', 1, 8, 2, 4, 2, 128], ['streamed', 1, 8, 1, 4, 2, 64]]
  },
  {
    upTo: 512,
    measuredRows: 512,
    candidates: [['staged', 2, 4, 1, 4, 2, 64], ['staged', 2, 2, 2, 4, 2, 64], ['staged', 4, 2, 1, 2, 2, 64], ['staged', 2, 4, 1, 4, 4, 32], ['staged', 2, 2, 1, 2, 4, 32]]
  },
  {
    upTo: 1024,
    measuredRows: 1024,
    candidates: [['staged', 2, 4, 1, 4, 4, 32], ['staged', 2, 4, 1, 4, 2, 64], ['staged', 4, 2, 1, 2, 2, 64], ['staged', 2, 2, 1, 4, 4, 32]]
  },
  {
    upTo: ANY_ROWS,
    measuredRows: 2048,
    candidates: [['staged', 2, 4, 1, 4, 4, 32], ['staged', 2, 2, 1, 4, 4, 32], ['staged', 2, 4, 1, 4, 2, 64], ['staged', 2, 2, 1, 4, 2, 32]]
  }
]

/**
 * Of products that are added to the residual stream, by the numbers of rows that they are for: with K in parts, or whole, for which the norm behind is deferred; and a single row's, which elsewhere is normalised by the kernel that
 * multiplies it, and follows rules (`vectorLoop`).
 */
const partedCandidates: Readonly<Record<number, readonly ProductKernel[]>> = {
  1: [['vector', 1, 8, 8], ['vector', 1, 16, 4], ['vector', 1, 16, 8], ['vector', 1, 32, 4], ['vector', 1, 32, 8]],
  16: [['staged', 1, 4, 1, 1, 1, 128, 8], ['staged', 1, 4, 1, 1, 1, 128, 4], ['streamed', 1, 8, 2, 1, 1, 256, 8], ['streamed', 1, 4, 4, 1, 1, 256, 4], ['streamed', 1, 2, 8, 1, 1, 256, 2]],
  32: [['streamed', 1, 1, 16, 2, 1, 256], ['streamed', 1, 2, 8, 2, 1, 256], ['staged', 2, 2, 1, 2, 2, 64, 8], ['staged', 1, 4, 1, 2, 1, 64, 8], ['staged', 1, 4, 1, 2, 1, 64, 4], ['staged', 2, 2, 1, 1, 2, 128, 4], ['streamed', 1, 4, 4, 2, 1, 256, 4], ['streamed', 1, 4, 1, 2, 1, 128, 8], ['streamed', 1, 4, 4, 2, 1, 128, 4], ['streamed', 1, 8, 2, 2, 1, 256, 8]],
  64: [['streamed', 1, 1, 16, 4, 1, 256], ['streamed', 1, 1, 8, 4, 1, 128], ['staged', 2, 2, 1, 2, 2, 64, 8], ['staged', 2, 2, 1, 2, 2, 64, 4], ['staged', 2, 2, 1, 2, 2, 128, 4], ['staged', 2, 2, 1, 2, 2, 128, 2], ['streamed', 1, 8, 2, 4, 1, 128, 8], ['streamed', 1, 4, 4, 4, 2, 128, 8], ['streamed', 1, 4, 4, 4, 1, 128, 4]],
  128: [['streamed', 1, 2, 8, 4, 1, 128], ['streamed', 1, 2, 4, 4, 1, 128], ['staged', 2, 4, 1, 4, 2, 64, 8], ['staged', 2, 4, 1, 4, 2, 64, 4], ['staged', 4, 2, 1, 2, 2, 64, 4], ['staged', 4, 2, 1, 2, 2, 64, 2], ['streamed', 1, 8, 2, 4, 2, 128, 8], ['streamed', 1, 4, 2, 4, 2, 64, 8], ['streamed', 1, 8, 1, 4, 2, 64, 8], ['streamed', 1, 4, 4, 4, 2, 128, 4]],
  256: [['staged', 2, 4, 1, 4, 2, 64, 4], ['staged', 2, 4, 1, 4, 2, 64, 2], ['staged', 2, 2, 1, 4, 4, 32, 4], ['staged', 4, 2, 1, 2, 2, 64, 2]],
  512: [['staged', 2, 4, 1, 4, 2, 64, 2], ['staged', 2, 2, 1, 4, 4, 32, 2]]
}

/**
 * What is worth measuring for a weight. A head sees few rows, and the outputs of many would not fit.
 * @param parted whoever reads the product can add up the sums of parts of K
 */
export function rowRanges (columns: number, parted = false): readonly RowRange[] {
  if (parted) return [...few, ...many].map(range => ({ ...range, candidates: [...range.candidates, ...partedCandidates[range.upTo] ?? []] }))
  return columns >= MANY_COLUMNS ? few.map((range, i) => i === few.length - 1 ? { ...range, upTo: ANY_ROWS } : range) : [...few, ...many]
}
