import type { Kernel } from '../define-kernel.ts'
import type { matmulBindings, matmulOverrides } from './matmul-interface.ts'

/** A kernel and the rows it is for. */
export interface MatmulVariant {
  readonly kernel: Kernel<typeof matmulBindings, typeof matmulOverrides[number]>
  /** Rows of x and output columns of a workgroup. */
  readonly rows: number
  readonly columns: number
  /** Most rows of x this variant is chosen for. */
  readonly upTo: number
  /** Workgroups run along rows first; undefined: along columns. */
  readonly rowsFirst?: boolean
  /** Parts of K whose sums lie side by side in y, `[part][partRows][columns]`, and are added up by whoever reads them; undefined: one. */
  readonly parts?: number
}

/** So many outputs fill a device without cutting K. */
export const MANY_COLUMNS = 32_768
