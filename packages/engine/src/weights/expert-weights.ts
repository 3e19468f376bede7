import type { StorageAllocator } from '../device/storage-allocator.ts'
import type { StorageType } from '../engine.ts'
import { UnsupportedModelError } from '../errors.ts'

/** One buffer's share of the experts: a binding may not span more than the adapter allows. */
export interface ExpertPart {
  readonly buffer: GPUBuffer
  readonly firstExpert: number
  readonly numExperts: number
  /** Output columns of y that this part writes; all of them unless a single expert exceeds a binding. */
  readonly firstColumn: number
  readonly columns: number
  /**
   * The `part` binding of expert-matmul.ts: what is above, and the distance between experts. Data and not overrides, so that a
   * weight in many parts compiles each kernel once.
   */
  readonly extent: GPUBuffer
}

/**
 * One projection of all experts on the device. In a part every expert's matrix is a block of its own in the layout `interleaved`
 * of weight-layout.ts: `[K/4][columns]` vectors of 4 along K, with `gated` twice the columns, gate rows first and then as many up
 * rows. Blocks start at multiples of 256 bytes, so that each can be bound by itself.
 */
export interface ExpertWeights {
  readonly numExperts: number
  readonly k: number
  /** Output columns of one expert. */
  readonly columns: number
  readonly gated: boolean
  readonly storage: StorageType
  readonly parts: readonly ExpertPart[]
}

export type ExpertShape = Omit<ExpertWeights, 'parts'>

/** Where some of an expert's rows go: all of them, unless a single expert exceeds a binding. */
export interface ExpertWindow {
  /** The block of exactly these rows, to be bound as the whole weight of repack.wgsl. */
  readonly binding: GPUBufferBinding
  /** The expert's rows that belong here: `firstColumn` to `firstColumn + columns` of the projection (of both gate and up with `gated`). */
  readonly firstColumn: number
  readonly columns: number
  /** Rows of the block, the N of its layout: `columns`, or twice as many with `gated`, gate rows first. */
  readonly rows: number
}

/** WebGPU's alignment of a bound window. */
const BLOCK_ALIGNMENT = 256

/**
 * Buffers for all experts of one projection, split by experts so that no part is larger than one binding may be; where one expert
 * alone is, by its columns too. The caller owns them.
 * @throws UnsupportedModelError when 16 columns of one expert exceed a binding; OutOfDeviceMemoryError
 */
export async function allocateExperts (device: StorageAllocator, label: string, shape: ExpertShape): Promise<ExpertWeights> {
  const { numExperts, columns } = shape
  const most = device.capabilities.maxBindingBytes
  const perColumn = columnBytes(shape)
  // Parts of an expert start at multiples of 16 columns, as allocateLinear's do.
  const columnsAtOnce = perColumn * columns <= most ? columns : Math.floor(most / perColumn / 16) * 16
  if (columnsAtOnce === 0) throw new UnsupportedModelError({ field: `${label} input size`, value: shape.k, supported: `what lets 16 columns fit a binding of ${most} bytes` })
  const expertsAtOnce = columnsAtOnce < columns ? 1 : 1 + Math.floor((most - perColumn * columns) / blockBytes(shape, columns))
  const parts: ExpertPart[] = []
  for (let firstExpert = 0; firstExpert < numExperts; firstExpert += expertsAtOnce) {
    for (let firstColumn = 0; firstColumn < columns; firstColumn += columnsAtOnce) {
      const own = { firstExpert, numExperts: Math.min(expertsAtOnce, numExperts - firstExpert), firstColumn, columns: Math.min(columnsAtOnce, columns - firstColumn) }
      const block = blockBytes(shape, own.columns)
      const name = `${label} ${firstExpert} ${firstColumn}`
      const buffer = await device.createStorage(name, (own.numExperts - 1) * block + own.columns * perColumn)
      const extent = await device.createStorage(`${name} extent`, 32)
      const vectors = block / (4 * valueBytes(shape))
      device.queue.writeBuffer(extent, 0, new Uint32Array([own.firstExpert, own.numExperts, vectors, 0, own.firstColumn, own.columns, 0, 0]))
      parts.push({ buffer, extent, ...own })
    }
  }
  return { ...shape, parts }
}

/** Where an expert's rows lie, in ascending order of columns. Empty for an expert that does not exist. */
export function expertWindows (weights: ExpertWeights, expert: number): ExpertWindow[] {
  return weights.parts
    .filter(part => expert >= part.firstExpert && expert < part.firstExpert + part.numExperts)
    .map(({ buffer, firstExpert, firstColumn, columns }) => ({
      binding: { buffer, offset: (expert - firstExpert) * blockBytes(weights, columns), size: columns * columnBytes(weights) },
      firstColumn,
      columns,
      rows: weights.gated ? 2 * columns : columns
    }))
}

function valueBytes ({ storage }: Pick<ExpertShape, 'storage'>): number {
  return storage === 'f16' ? 2 : 4
}

function columnBytes (shape: Pick<ExpertShape, 'k' | 'gated' | 'storage'>): number {
  return shape.k * valueBytes(shape) * (shape.gated ? 2 : 1)
}

/** From one expert of a part to the next. */
function blockBytes (shape: Pick<ExpertShape, 'k' | 'gated' | 'storage'>, columns: number): number {
  return Math.ceil(columns * columnBytes(shape) / BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT
}
