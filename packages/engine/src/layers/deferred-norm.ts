import { normBehind } from '../engine-plan.ts'
import { deferredRows, fitsBehindNorm } from '../kernels/matmul/deferred-norm.ts'
import { fastProducts } from '../kernels/matmul/fast-variants.ts'
import { beforeNormGrid, mmaBeforeNorm } from '../kernels/matmul/mma-before-norm.ts'
import type { BeforeNormGrid } from '../kernels/matmul/mma-before-norm.ts'
import { mmaGridColumns, mmaGridRows } from '../kernels/matmul/mma-grid.ts'
import { mmaLinearBehindNorm, mmaLinearBytes, mmaLinearColumns } from '../kernels/matmul/mma-linear.ts'
import type { MmaLinearShape } from '../kernels/matmul/mma-linear.ts'
import { mmaRotaryBytes, mmaRotaryGrid } from '../kernels/matmul/mma-rotary.ts'
import { mmaGrid, mmaLinearShape } from '../kernels/matmul/product-table.ts'
import type { MatrixKernel, NormBehind, ProductChoice, ProductKernel } from '../kernels/matmul/product-table.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { LayerContext } from './layer-context.ts'
import { linearOverrides } from './linear.ts'
import type { LinearBuffers, LinearOptions } from './linear.ts'
import type { Recorder, WhichNorm } from './norms.ts'

/** A norm that the products on both sides compute, for some numbers of rows (kernels/matmul/deferred-norm.ts). */
export interface DeferredNorm {
  readonly which: WhichNorm
  /** The norm's weight. */
  readonly weight: GPUBuffer
  readonly ranges: readonly DeferredRange[]
  /** True for numbers of rows that have no norm of their own. */
  readonly takes: (rows: number) => boolean
}

/** Kernels of both products for more than `over` rows, up to `upTo`. */
interface DeferredRange {
  readonly over: number
  readonly upTo: number
  readonly before: BeforeNormGrid
  readonly behind: MatrixKernel
}

export interface DeferredNormParts {
  readonly which: WhichNorm
  readonly normWeight: GPUBuffer | undefined
  /** The product into the residual stream. */
  readonly before: { readonly weight: LinearWeight, readonly bias: GPUBuffer | undefined } | undefined
  readonly behind: { readonly weight: LinearWeight, readonly epilogue: Epilogue, /** mma-rotary.ts computes it. */ readonly turned: boolean } | undefined
}

/** Storage buffers of mmaRotaryBehindNorm, which has most. */
const MOST_BINDINGS = 9

/** Undefined where no number of rows has such kernels on both sides. */
export function deferredNorm ({ device: { capabilities, report }, config, buffers, products, deterministic }: LayerContext, { which, normWeight, before, behind }: DeferredNormParts): DeferredNorm | undefined {
  // Where parts are not added up the stream is not what the norm reads next.
  if (normWeight === undefined || before === undefined || behind === undefined || buffers.partialSums === undefined || deterministic) return undefined
  if ((report.limits['maxStorageBuffersPerShaderStage'] ?? 0) < MOST_BINDINGS) return undefined
  const isWhole = ({ layout, parts }: LinearWeight): boolean => layout === 'tiled' && parts.length === 1
  if (before.bias !== undefined || !isWhole(before.weight) || !isWhole(behind.weight)) return undefined
  const choicesOf = ({ columns, k }: LinearWeight, epilogue: Epilogue, norm?: NormBehind): readonly ProductChoice[] => fastProducts(columns, k, epilogue, capabilities, { table: products, norm })
  const [left, right] = [choicesOf(before.weight, 'residual', normBehind(config)), choicesOf(behind.weight, behind.epilogue)]
  const bounds = [...new Set([1, ...[...left, ...right].map(({ upTo }) => upTo), deferredRows])].filter(upTo => upTo <= deferredRows).sort((a, b) => a - b)
  const ranges = bounds.flatMap((upTo, i): DeferredRange[] => {
    const over = bounds[i - 1]
    const product = kernelFor(left, upTo)
    const grid = product === undefined ? undefined : beforeNormGrid(product, capabilities)
    const kernel = behindKernel(kernelFor(right, upTo), behind, capabilities.maxWorkgroupBytes)
    return over === undefined || grid === undefined || kernel === undefined ? [] : [{ over, upTo, before: grid, behind: kernel }]
  })
  return ranges.length === 0 ? undefined : { which, weight: normWeight, ranges, takes: rows => rangeOf(ranges, rows) !== undefined }
}

function kernelFor (choices: readonly ProductChoice[], rows: number): ProductKernel | undefined {
  return (choices.find(({ upTo }) => upTo >= rows) ?? choices.at(-1))?.kernel
}

function rangeOf<R extends Pick<DeferredRange, 'over' | 'upTo'>> (ranges: readonly R[], rows: number): R | undefined {
  return ranges.find(({ over, upTo }) => over < rows && rows <= upTo)
}

function behindKernel (kernel: ProductKernel | undefined, { weight, epilogue, turned }: NonNullable<DeferredNormParts['behind']>, maxBytes: number): MatrixKernel | undefined {
  if (kernel === undefined || kernel[0] === 'vector') return undefined
  const grid = turned ? mmaRotaryGrid(mmaGrid(kernel)) : mmaLinearShape(kernel, epilogue)
  const bytes = turned ? mmaRotaryBytes(grid) : mmaLinearBytes({ ...grid, epilogue })
  return fitsBehindNorm(grid, weight.k) && bytes + 4 * mmaGridRows(grid) <= maxBytes ? kernel : undefined
}

/** The product before a deferred norm: into the residual stream and `normed`. */
export async function createBeforeNorm ({ pipelines, buffers }: LayerContext, deferred: DeferredNorm, label: string, weight: LinearWeight, x: GPUBuffer): Promise<Recorder> {
  const [part] = weight.parts
  if (part === undefined) throw new TypeError(`${label} has no weight`)
  const bound = { x, weight: part.buffer, norm: deferred.weight, step: buffers.step, y: buffers.residual, row_scales: buffers.rowScales, normed: buffers.normed, row_squares: buffers.rowSquares }
  return await createByRows(deferred, `${label} before norm`, weight.columns, async ({ before }) => {
    const pipeline = await pipelines.get(mmaBeforeNorm(before), { K: weight.k, OWN_COLUMNS: weight.columns, WHICH: deferred.which })
    return { gpu: pipeline, group: pipeline.bind(bound), rows: mmaGridRows(before), columns: mmaGridColumns(before) }
  })
}

/** A product behind a deferred norm, of `normed`. */
export async function createBehindNorm ({ pipelines, buffers, config }: LayerContext, deferred: DeferredNorm, { label, weight, epilogue, options, ...bound }: {
  readonly label: string
  readonly weight: LinearWeight
  readonly epilogue: Epilogue
  readonly options: LinearOptions
  readonly buffers: LinearBuffers
}): Promise<Recorder> {
  const [part] = weight.parts
  if (part === undefined) throw new TypeError(`${label} has no weight`)
  const { x, y, step, bias } = bound.buffers
  return await createByRows(deferred, `${label} behind norm`, weight.columns, async ({ behind }) => {
    const shape: MmaLinearShape = mmaLinearShape(behind, epilogue)
    const pipeline = await pipelines.get(mmaLinearBehindNorm(shape, weight.k), { ...linearOverrides(weight, part, options), EPS: config.norm.eps, WHICH: deferred.which })
    return { gpu: pipeline, group: pipeline.bind({ x, y, step, bias, weight: part.buffer, row_squares: buffers.rowSquares, row_scales: buffers.rowScales }), rows: mmaGridRows(shape), columns: mmaLinearColumns(shape) }
  })
}

interface Compiled {
  readonly gpu: { readonly gpu: GPUComputePipeline }
  readonly group: GPUBindGroup
  /** Of a workgroup. */
  readonly rows: number
  readonly columns: number
}

/** A product with a kernel for each range of a deferred norm. */
export async function createByRows ({ ranges }: DeferredNorm, label: string, columns: number, compile: (range: DeferredRange) => Promise<Compiled>): Promise<Recorder> {
  const compiled = await Promise.all(ranges.map(async range => ({ ...range, ...await compile(range) })))
  return (list, { tokens }) => {
    const kernel = rangeOf(compiled, tokens)
    if (kernel === undefined) throw new RangeError(`${label} has no kernel for ${tokens} rows`)
    list.dispatch(label, kernel.gpu, kernel.group, [Math.ceil(tokens / kernel.rows), Math.ceil(columns / kernel.columns), 1])
  }
}
