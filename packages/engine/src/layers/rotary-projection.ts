import { normedBytes } from '../kernels/matmul/gemv-normed.ts'
import { gemvRotary } from '../kernels/matmul/gemv-rotary.ts'
import { fastProducts, vectorLoop } from '../kernels/matmul/fast-variants.ts'
import { mmaGridColumns, mmaGridRows } from '../kernels/matmul/mma-grid.ts'
import { mmaRotary, mmaRotaryBehindNorm, mmaRotaryBytes, mmaRotaryGrid } from '../kernels/matmul/mma-rotary.ts'
import { mmaGrid } from '../kernels/matmul/product-table.ts'
import type { rotaryOverrides } from '../kernels/matmul/rotary-outputs.ts'
import { ropeKVWrite } from '../kernels/model-kernels.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import { createByRows } from './deferred-norm.ts'
import type { LayerContext } from './layer-context.ts'
import { createNormedLinear } from './normed-linear.ts'
import type { NormedLinearParts } from './normed-linear.ts'
import { createQKNorm } from './norms.ts'
import type { Recorder } from './norms.ts'

export interface RotaryProjectionParts extends Pick<NormedLinearParts, 'norm' | 'normWeight' | 'before' | 'deferred'> {
  /** q, k and v projections stacked by rows. */
  readonly weight: LinearWeight
  readonly bias: GPUBuffer | undefined
  /** Queries' norm, then keys'. */
  readonly qkNorm: GPUBuffer | undefined
  /** The layer's keys and values. */
  readonly kv: GPUBuffer
  /** `[position][ROTARY_DIM/2]` (cos, sin); undefined: nothing turns. */
  readonly rotation: GPUBuffer | undefined
  readonly rotaryDim: number
}

/**
 * From the residual stream to what attention reads: queries, and keys and values in their slots. Norm, projection, norms of queries and keys, and
 * rotation. Where the weight is tiled, heads turn whole, or not at all, and have no norms of their own, the projection turns them itself, and
 * for a single token it normalises x, too.
 */
export async function createRotaryProjection (context: LayerContext, parts: RotaryProjectionParts): Promise<Recorder> {
  return await createFused(context, parts) ?? await createApart(context, parts)
}

async function createApart (context: LayerContext, { norm, normWeight, before, deferred, weight, bias, qkNorm, kv, rotation, rotaryDim }: RotaryProjectionParts): Promise<Recorder> {
  const { device, pipelines, buffers, deterministic, products } = context
  const project = await createNormedLinear(context, {
    label: 'qkv',
    norm,
    normWeight,
    before,
    deferred,
    weight,
    epilogue: 'store',
    options: { device, pipelines, deterministic, products, logitRows: false, biased: bias !== undefined },
    buffers: { x: buffers.normed, y: buffers.qkv, step: buffers.step, bias: bias ?? buffers.nothing },
    rows: shape => shape.tokens
  })
  const normalise = await createQKNorm(context, qkNorm)
  const rope = await pipelines.get(ropeKVWrite, { ...headOverrides(context), ROTARY_DIM: rotaryDim })
  const group = rope.bind({ qkv: buffers.qkv, rotation: rotation ?? buffers.nothing, step: buffers.step, q: buffers.q, kv })
  const groups = Math.ceil(weight.columns / 2 / 64)
  return (list, shape) => {
    project(list, shape)
    normalise(list, shape)
    list.dispatch('rope_kv_write', rope, group, [groups, shape.tokens, 1])
  }
}

/** True where the projection turns queries and keys itself. */
export function turnsInProjection ({ config: { headDim }, deterministic }: LayerContext, { qkNorm, weight, rotaryDim }: Pick<RotaryProjectionParts, 'qkNorm' | 'weight' | 'rotaryDim'>): boolean {
  return qkNorm === undefined && weight.layout === 'tiled' && weight.parts.length === 1 && !deterministic && headDim % 32 === 0 && (rotaryDim === headDim || rotaryDim === 0)
}

async function createFused (context: LayerContext, parts: RotaryProjectionParts): Promise<Recorder | undefined> {
  const { norm, normWeight, before, deferred, weight, bias, kv, rotation, rotaryDim } = parts
  const { config, device, pipelines, buffers, products } = context
  const [part] = weight.parts
  if (part === undefined || !turnsInProjection(context, parts)) return undefined
  const overrides = { ...headOverrides(context), K: weight.k, OWN_COLUMNS: weight.columns, BIAS: Number(bias !== undefined), TURNS: Number(rotaryDim > 0) }
  const bound = { weight: part.buffer, bias: bias ?? buffers.nothing, step: buffers.step, rotation: rotation ?? buffers.nothing, q: buffers.q, kv }
  const variants = await Promise.all(fastProducts(weight.columns, weight.k, 'store', device.capabilities, { table: products }).flatMap(({ upTo, kernel }) => {
    if (kernel[0] === 'vector') return []
    const grid = mmaRotaryGrid(mmaGrid(kernel))
    if (mmaRotaryBytes(grid) > device.capabilities.maxWorkgroupBytes) return []
    return [pipelines.get(mmaRotary(grid), overrides).then(pipeline => ({ upTo, pipeline, rows: mmaGridRows(grid), columns: mmaGridColumns(grid) }))]
  }))
  const last = variants.at(-1)
  if (last === undefined) return undefined
  const group = last.pipeline.bind({ ...bound, x: buffers.normed })
  const behindNorm = deferred === undefined
    ? undefined
    : await createByRows(deferred, 'qkv rotary behind norm', weight.columns, async ({ behind }) => {
      const grid = mmaRotaryGrid(mmaGrid(behind))
      const pipeline = await pipelines.get(mmaRotaryBehindNorm(grid, weight.k), { ...overrides, EPS: config.norm.eps, WHICH: deferred.which })
      return { gpu: pipeline, group: pipeline.bind({ ...bound, x: buffers.normed, row_squares: buffers.rowSquares, row_scales: buffers.rowScales }), rows: mmaGridRows(grid), columns: mmaGridColumns(grid) }
    })
  const alone = await createRotaryVector(context, { ...bound, x: buffers.residual, norm: normWeight }, overrides)
  return (list, shape) => {
    // Parts of the product before are added up by the norm.
    if (shape.tokens === 1 && alone !== undefined && (before?.partsOf(1) ?? 1) === 1) {
      alone(list, shape)
      return
    }
    if (behindNorm !== undefined && deferred?.takes(shape.tokens) === true) {
      behindNorm(list, shape)
      return
    }
    const { pipeline, rows, columns } = variants.find(({ upTo }) => upTo >= shape.tokens) ?? last
    norm(list, shape)
    list.dispatch('qkv rotary', pipeline, group, [Math.ceil(shape.tokens / rows), Math.ceil(weight.columns / columns), 1])
  }
}

function headOverrides ({ config: { numHeads, numKVHeads, headDim, attention }, blockSize }: LayerContext) {
  return { NUM_HEADS: numHeads, NUM_KV_HEADS: numKVHeads, HEAD_DIM: headDim, BLOCK_SIZE: blockSize, SCALE: attention.scale }
}

interface RotaryVectorBuffers {
  readonly x: GPUBuffer
  readonly norm: GPUBuffer | undefined
  readonly weight: GPUBuffer
  readonly bias: GPUBuffer
  readonly step: GPUBuffer
  readonly rotation: GPUBuffer
  readonly q: GPUBuffer
  readonly kv: GPUBuffer
}

/** All of it for a single token; undefined where x is not normalised, or nothing fits. */
async function createRotaryVector ({ config, device, pipelines }: LayerContext, { norm, ...buffers }: RotaryVectorBuffers, overrides: Readonly<Record<typeof rotaryOverrides[number], number>>): Promise<Recorder | undefined> {
  const width = overrides.OWN_COLUMNS
  const loop = vectorLoop(width, overrides.K, device.capabilities)
  if (norm === undefined || normedBytes(loop, 1) > device.capabilities.maxWorkgroupBytes) return undefined
  const pipeline = await pipelines.get(gemvRotary(loop), { ...overrides, EPS: config.norm.eps })
  const group = pipeline.bind({ ...buffers, norm })
  return list => list.dispatch('qkv rotary', pipeline, group, [width / 16, 1, 1])
}
