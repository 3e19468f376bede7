import { gemvTiled } from './gemv-tiled.ts'
import { rowPadding } from './matmul-interface.ts'
import type { MatmulVariant } from './matmul-variant.ts'
import { mmaGridRows } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'
import { mmaLinear, mmaLinearBytes, mmaLinearColumns, mostParts, partRows } from './mma-linear.ts'
import type { MmaLinearShape } from './mma-linear.ts'
import { mmaRotaryGrid } from './mma-rotary.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'
import type { DeviceCapabilities } from '../../device/device-capabilities.ts'

/** A product's kernel as plain data. */
export type ProductKernel =
  /** gemvTiled: rows of x, parts of K, K tiles loaded at a time. */
  | readonly ['vector', rows: number, splits: number, ahead: number]
  /** mmaLinear: how weights get there; subgroups along rows, columns and K; tiles a subgroup accumulates along rows and columns; K staged at a time; parts of K. */
  | readonly [weights: MmaGrid['weights'], rowGroups: number, columnGroups: number, depthGroups: number, rowTiles: number, columnTiles: number, depth: number, parts?: number]

export type MatrixKernel = Exclude<ProductKernel, readonly ['vector', ...unknown[]]>

/** Which kernel computes a weight's products with up to so many rows. */
export interface ProductChoice {
  readonly upTo: number
  readonly kernel: ProductKernel
}

/** Choices by ascending `upTo` for each shape of a weight, by `productKey`. */
export type ProductTable = Readonly<Record<string, readonly ProductChoice[]>>

/** Rows that a vector kernel may serve: registers hold a sum for each. */
export const MOST_VECTOR_ROWS = 4

/** Stands for any number of rows in a table, which is JSON. */
export const ANY_ROWS = 2 ** 31

/** The norm that reads a product next adds up the sums of parts of K (`parted`); or, where it is whole, may be deferred to the product behind (deferred-norm.ts), too. */
export type NormBehind = 'parted' | 'deferred'

/**
 * @param columns output columns, of a gated weight half of its rows
 * @param norm undefined: something else reads the product
 */
export function productKey (columns: number, k: number, epilogue: Epilogue, norm?: NormBehind): string {
  return `${columns} x ${k}${isGated(epilogue) ? ' gated' : ''}${norm === undefined ? '' : ` ${norm}`}`
}

type Limits = Pick<DeviceCapabilities, 'maxWorkgroupBytes' | 'maxWorkgroupThreads'>

/** True where the kernel divides K and fits the adapter. Nothing is written out for that: a model asks for every layer. */
export function fitsProduct ({ upTo, kernel }: ProductChoice, k: number, epilogue: Epilogue, { maxWorkgroupBytes, maxWorkgroupThreads }: Limits): boolean {
  if (kernel[0] === 'vector') return 32 * kernel[2] <= maxWorkgroupThreads && kernel[1] <= MOST_VECTOR_ROWS
  const shape = mmaLinearShape(kernel, epilogue)
  const { rowGroups, columnGroups, depthGroups, depth, parts = 1 } = shape
  // What the kernel cannot be: steps of K that not all depth groups have, a gate without its up tile, more rows than activations are padded to.
  if (depth % (16 * depthGroups) !== 0 || 128 % depthGroups !== 0 || (isGated(epilogue) && shape.columnTiles % 2 === 1) || mmaGridRows(shape) > rowPadding) return false
  if (k % (depth * parts) !== 0 || mmaLinearBytes(shape) > maxWorkgroupBytes || 32 * rowGroups * columnGroups * depthGroups > maxWorkgroupThreads) return false
  return parts === 1 || (!isGated(epilogue) && upTo <= partRows(parts) && parts <= mostParts)
}

/** The kernel for a weight of this K, or undefined where it does not divide K or does not fit the adapter. */
export function productVariant (choice: ProductChoice, k: number, epilogue: Epilogue, limits: Limits): MatmulVariant | undefined {
  if (!fitsProduct(choice, k, epilogue, limits)) return undefined
  const { upTo, kernel } = choice
  if (kernel[0] === 'vector') {
    const [, rows, splits, ahead] = kernel
    return { kernel: gemvTiled({ rows, splits, ahead, k, subgroup: 32, epilogue }), rows, columns: 16, upTo }
  }
  const shape = mmaLinearShape(kernel, epilogue)
  return { kernel: mmaLinear(shape), rows: mmaGridRows(shape), columns: mmaLinearColumns(shape), upTo, rowsFirst: true, parts: shape.parts ?? 1 }
}

/** The kernel that stands for one that turns queries and keys, too (mma-rotary.ts): of both, subgroups have the same tiles. */
export function rotaryProduct (kernel: ProductKernel): ProductKernel {
  if (kernel[0] === 'vector') return kernel
  const [, rowGroups, , depthGroups, rowTiles, , depth, ...parts] = kernel
  const { weights, columnGroups, columnTiles } = mmaRotaryGrid(mmaGrid(kernel))
  return [weights, rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, ...parts]
}

/** A tensor-core kernel with an epilogue; a gate has its up tile beside it. */
export function mmaLinearShape (kernel: MatrixKernel, epilogue: Epilogue): MmaLinearShape {
  const grid = mmaGrid(kernel)
  return { ...grid, columnTiles: isGated(epilogue) ? Math.max(2, grid.columnTiles) : grid.columnTiles, epilogue }
}

/** The grid of a tensor-core kernel. */
export function mmaGrid ([weights, rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, parts = 1]: MatrixKernel): MmaGrid {
  return { weights, rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, parts, subgroup: 32 }
}
