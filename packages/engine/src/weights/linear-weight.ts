import type { StorageAllocator } from '../device/storage-allocator.ts'
import type { StorageType } from '../engine.ts'
import { paddedRows } from '../kernels/matmul/weight-layout.ts'
import type { WeightLayout } from '../kernels/matmul/weight-layout.ts'

/** One buffer's share of a weight: a binding may not span more than the adapter allows, so a large weight is split by outputs. */
export interface WeightPart {
  readonly buffer: GPUBuffer
  /** First output column of y that this part writes. */
  readonly firstColumn: number
  /** Output columns: the rows of the buffer, or half of them for a gated weight (gate rows, then as many up rows). */
  readonly columns: number
}

/** A projection's weight on the device. */
export interface LinearWeight {
  readonly k: number
  /** Output columns of y over all parts. */
  readonly columns: number
  readonly gated: boolean
  readonly layout: WeightLayout
  readonly parts: readonly WeightPart[]
}

export interface LinearShape {
  readonly rows: number
  readonly k: number
  readonly gated: boolean
  readonly storage: StorageType
  readonly layout: WeightLayout
}

/** Buffers for a weight, split by output columns so that none is larger than one binding may be. */
export async function allocateLinear (device: StorageAllocator, label: string, shape: LinearShape): Promise<LinearWeight> {
  const { rows, k, gated, storage, layout } = shape
  const rowBytes = k * (storage === 'f16' ? 2 : 4)
  const columns = gated ? rows / 2 : rows
  const perColumn = rowBytes * (gated ? 2 : 1)
  // Parts start on a tile's boundary, so that a tile never straddles two buffers.
  const most = Math.floor(device.capabilities.maxBindingBytes / perColumn / 16) * 16
  if (most === 0) throw new RangeError(`${label}: 16 rows of ${rowBytes} bytes exceed one binding`)
  const parts: WeightPart[] = []
  for (let first = 0; first < columns; first += most) {
    const own = Math.min(most, columns - first)
    const padded = paddedRows(layout, own) * (gated ? 2 : 1)
    parts.push({ buffer: await device.createStorage(`${label} ${first}`, padded * rowBytes), firstColumn: first, columns: own })
  }
  return { k, columns, gated, layout, parts }
}
