import type { DeviceCapabilities } from '../../device/device-capabilities.ts'
import { MANY_COLUMNS } from './matmul-variant.ts'
import { partRows } from './mma-linear.ts'
import type { MatmulVariant } from './matmul-variant.ts'
import type { GemvLoop } from './gemv.ts'
import { ANY_ROWS, fitsProduct, productKey, productVariant } from './product-table.ts'
import type { NormBehind, ProductChoice, ProductKernel, ProductTable } from './product-table.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

/** Subgroups along rows, columns and K; tiles a subgroup accumulates along rows and columns; K staged at a time. */
type Grid = readonly [rowGroups: number, columnGroups: number, depthGroups: number, rowTiles: number, columnTiles: number, depth: number]

interface Choice {
  readonly upTo: number
  /** The first that divides K and fits the adapter is taken, of those that stream weights, then of those that stage them. */
  readonly streamed?: readonly Grid[]
  readonly grids: readonly Grid[]
}

function kernelsOf (streamed: readonly Grid[] = [], grids: readonly Grid[]): ProductKernel[] {
  return [...streamed.map(grid => ['streamed', ...grid] as const), ...grids.map(grid => ['staged', ...grid] as const)]
}

/** What any weight can be computed with, whatever its K (a multiple of 32). */
const ANY: readonly Grid[] = [[2, 2, 1, 2, 2, 64], [2, 2, 1, 2, 2, 32]]

/** Sixteen rows. */
const FEW: readonly Grid[] = [[1, 1, 8, 1, 1, 128], [1, 1, 4, 1, 1, 64], [1, 2, 2, 1, 1, 32]]

/** Few outputs: K is cut among a workgroup's subgroups until rows alone fill the device. */
const narrow: readonly Choice[] = [
  { upTo: 16, streamed: [[1, 1, 16, 1, 1, 512], [1, 1, 8, 1, 1, 256]], grids: [[1, 1, 8, 1, 1, 512], ...FEW] },
  { upTo: 32, grids: [[1, 1, 8, 2, 1, 128], [1, 1, 4, 2, 1, 64], [1, 2, 2, 2, 1, 32]] },
  { upTo: 64, grids: [[1, 1, 8, 4, 1, 128], [2, 1, 4, 1, 2, 64], [2, 2, 2, 1, 2, 32]] },
  { upTo: 128, grids: [[1, 1, 8, 4, 2, 128], [2, 1, 4, 2, 2, 64], [2, 2, 2, 2, 2, 32]] },
  { upTo: Infinity, grids: [[2, 4, 1, 4, 4, 32], [2, 2, 1, 4, 4, 32], ...ANY] }
]

/** Long K beside few outputs: more subgroups share it. */
const deep: readonly Choice[] = [
  { upTo: 16, streamed: [[1, 1, 16, 1, 1, 512], [1, 1, 8, 1, 1, 256]], grids: [[1, 1, 8, 1, 1, 512], [1, 1, 16, 1, 1, 256], ...FEW] },
  { upTo: 32, streamed: [[1, 1, 16, 2, 2, 256], [1, 1, 8, 2, 1, 128]], grids: [[1, 1, 16, 2, 1, 256], [1, 1, 8, 2, 1, 128]] },
  { upTo: 64, grids: [[2, 1, 4, 1, 2, 128], [2, 1, 4, 1, 2, 64]] }
]

const middling: readonly Choice[] = [
  { upTo: 16, streamed: [[1, 1, 16, 1, 2, 512], [1, 1, 8, 1, 2, 256]], grids: FEW },
  { upTo: 32, streamed: [[1, 1, 8, 2, 2, 256]], grids: narrow[1]?.grids ?? [] },
  { upTo: 64, grids: [[2, 1, 8, 2, 2, 128], [1, 1, 8, 4, 2, 128], ...narrow[2]?.grids ?? []] },
  { upTo: 128, grids: [[2, 2, 2, 2, 2, 128], ...narrow[3]?.grids ?? []] },
  { upTo: Infinity, grids: [[2, 4, 1, 4, 2, 64], [2, 4, 1, 4, 4, 32], ...ANY] }
]

/** Many outputs for up to 128 rows stream: a workgroup of sixteen subgroups for each processor, 64 rows at most each. */
const wide: readonly Choice[] = [
  { upTo: 16, streamed: [[1, 4, 4, 1, 2, 256], [1, 2, 4, 1, 2, 128]], grids: [[1, 2, 2, 1, 2, 64], [1, 2, 2, 1, 2, 32]] },
  { upTo: 32, streamed: [[1, 4, 4, 2, 2, 256], [1, 2, 4, 2, 2, 128]], grids: [[1, 2, 2, 2, 2, 64], [1, 2, 2, 2, 2, 32]] },
  { upTo: 64, streamed: [[2, 4, 2, 2, 2, 128]], grids: [[2, 4, 1, 2, 2, 64], [2, 4, 1, 2, 2, 32]] },
  { upTo: 128, streamed: [[1, 8, 2, 4, 2, 128], [1, 8, 1, 4, 2, 64]], grids: [[4, 4, 1, 2, 2, 64], [2, 2, 2, 4, 2, 64], ...ANY] },
  { upTo: Infinity, grids: [[2, 4, 1, 4, 4, 32], [2, 2, 1, 4, 4, 32], ...ANY] }
]

const head: readonly Choice[] = [
  { upTo: 16, streamed: [[1, 4, 1, 1, 2, 128], [1, 4, 1, 1, 2, 64]], grids: wide[0]?.grids ?? [] },
  { upTo: 32, streamed: [[1, 8, 1, 2, 1, 64]], grids: [[1, 2, 2, 2, 2, 32], [1, 2, 1, 2, 4, 32]] },
  { upTo: 64, streamed: [[1, 4, 1, 4, 2, 64]], grids: [[2, 2, 1, 2, 4, 32]] },
  { upTo: 128, streamed: [[2, 8, 1, 4, 2, 64]], grids: [[2, 2, 1, 4, 4, 32], ...ANY] },
  { upTo: Infinity, grids: [[2, 2, 1, 4, 4, 32], ...ANY] }
]

/**
 * Tiles of many rows, the largest first, and the workgroups that there have to be: a larger tile reads each operand less often, a smaller one
 * leaves fewer of a device's processors idle. 256 rows x 3,072 outputs of K = 2,048 took 66 us in 48 tiles of 128 x 128 and 45 us in
 * 96 of half as many columns (H100).
 */
const TILES: ReadonlyArray<{ readonly grid: Grid, readonly leastWorkgroups: number }> = [
  { grid: [2, 4, 1, 4, 4, 32], leastWorkgroups: 96 },
  { grid: [2, 4, 1, 4, 2, 64], leastWorkgroups: 72 }
]
/** Numbers of rows for which the tile is chosen by how many there would be. */
const TILED_ROWS = [256, 512, 1024]
/** Where even the smaller one leaves most processors idle. */
const halfTile = (columns: number): Grid => columns > 2560 ? [4, 2, 1, 2, 2, 64] : [2, 2, 2, 4, 2, 64]

/**
 * Few outputs whose sums the next norm adds up. Cutting K among workgroups lets each have a wide tile: x, which all of them read, is
 * read by fewer. One product of 64 rows × 2,048 outputs of K = 8,192 took 33 us without and 18 us with parts (H200).
 */
const parted: ReadonlyArray<Choice & { readonly leastK: number }> = [
  { upTo: 16, leastK: 4096, streamed: [[1, 8, 2, 1, 1, 256]], grids: [[1, 4, 1, 1, 1, 128]] },
  { upTo: 32, leastK: 4096, streamed: [[1, 4, 4, 2, 1, 256]], grids: [[1, 4, 1, 2, 1, 64]] },
  { upTo: 64, leastK: 4096, streamed: [[1, 8, 2, 4, 1, 128]], grids: [[2, 2, 1, 2, 2, 64]] },
  { upTo: 64, leastK: 0, grids: [[2, 2, 1, 2, 2, 128], [2, 2, 1, 2, 2, 64]] },
  { upTo: 128, leastK: 4096, grids: [[2, 4, 1, 4, 2, 64]] },
  { upTo: 128, leastK: 0, grids: [[4, 2, 1, 2, 2, 64]] },
  { upTo: 256, leastK: 0, grids: [[2, 4, 1, 4, 2, 64]] },
  { upTo: 512, leastK: 0, grids: [[2, 4, 1, 4, 2, 64]] }
]
/** Rows up to which a whole product whose norm is deferred is faster than one in parts: 13.7 us instead of 12.0 and 2.7 for 8 rows × 2,048 outputs of K = 8,192 (H200). */
const MOST_DEFERRED = 16
/** Workgroups that parts make up to: several for each processor, or one, where every part more is many rows to add up. */
const partedWorkgroups = (upTo: number): number => upTo <= 128 ? 320 : 144
/** K that a part has at least: shorter ones cost more in adding up than they gain. */
const LEAST_PART = 512

/**
 * FlashDecoding++'s heuristic dataflow: by a weight's shape and the number of rows, a matrix-vector kernel, a flat product whose
 * workgroups cut K, or tiles. What was measured on the adapter itself comes first (tuning/); the rules here were measured on an
 * H100 (docs/decisions/2026-11-26-fast-products.md), those that stream on an H200 (2026-11-27-streamed-products.md). Single rows that are normalised on the way follow `vectorLoop`. The order of summation differs between them: a row's last bits depend on how
 * many rows it is computed with.
 */
export function fastVariants (columns: number, k: number, epilogue: Epilogue, capabilities: DeviceCapabilities, options: FastVariantsOptions = {}): MatmulVariant[] {
  const choices = fastProducts(columns, k, epilogue, capabilities, options)
  return choices.flatMap((choice, i) => productVariant(i === choices.length - 1 ? { ...choice, upTo: Infinity } : choice, k, epilogue, capabilities) ?? [])
}

/** The same choices as plain data; all of them fit the adapter, and the last serves any number of rows. */
export function fastProducts (columns: number, k: number, epilogue: Epilogue, capabilities: DeviceCapabilities, { table = {}, norm }: FastVariantsOptions = {}): readonly ProductChoice[] {
  const measured = toTheLastWhole((table[productKey(columns, k, epilogue, norm)] ?? []).filter(choice => fitsProduct(choice, k, epilogue, capabilities) && (norm !== undefined || partsOf(choice) === 1)))
  return measured.length > 0 ? measured : toTheLastWhole(ruledProducts(columns, k, epilogue, capabilities, norm))
}

function partsOf ({ kernel }: ProductChoice): number {
  return kernel[0] === 'vector' ? 1 : kernel[7] ?? 1
}

/** Parts have room for a few rows only. */
function toTheLastWhole (choices: readonly ProductChoice[]): readonly ProductChoice[] {
  const whole = choices.findLastIndex(choice => partsOf(choice) === 1)
  return choices.slice(0, whole + 1)
}

export interface FastVariantsOptions {
  /** What was measured on the adapter. */
  readonly table?: ProductTable
  /** Which norm reads the product, if one does. */
  readonly norm?: NormBehind | undefined
}

/** What the rules choose, by ascending number of rows; all of it fits the adapter. */
export function ruledProducts (columns: number, k: number, epilogue: Epilogue, capabilities: DeviceCapabilities, norm?: NormBehind): ProductChoice[] {
  const gated = isGated(epilogue)
  const choices = columns >= MANY_COLUMNS
    ? head
    : gated || columns > 6144 ? wide : columns > 2560 && k <= 4096 ? middling : k >= 4096 ? [...deep, ...narrow.slice(3)] : narrow
  const fits = (choice: ProductChoice): boolean => fitsProduct(choice, k, epilogue, capabilities)
  const loop = vectorLoop(columns, k, capabilities)
  const vectors: ProductChoice[] = [{ upTo: 1, kernel: ['vector', 1, loop.splits, loop.ahead] }, ...gated ? [{ upTo: 4, kernel: ['vector', 4, 8, 8] }] as const : []]
  const products = [...choices.filter(({ upTo }) => upTo <= 128), ...tiled(columns, gated, choices === head), ...choices.slice(-1)].flatMap(({ upTo, streamed, grids }) => {
    const fitting = kernelsOf(streamed, [...grids, ...ANY]).map((kernel): ProductChoice => ({ upTo: Math.min(upTo, ANY_ROWS), kernel })).find(fits)
    return fitting === undefined ? [] : [fitting]
  })
  const inParts = norm !== undefined && choices !== head && choices !== wide ? partedProducts(columns, k, norm, fits) : []
  const whole = [...vectors.filter(fits), ...products].filter(({ upTo }) => !inParts.some(choice => choice.upTo === upTo))
  return [...whole, ...inParts].sort((a, b) => a.upTo - b.upTo)
}

/** A head sees few rows, and its outputs fill a device. */
function tiled (columns: number, gated: boolean, isHead: boolean): Choice[] {
  if (isHead) return []
  return TILED_ROWS.map(upTo => {
    const filling = TILES.filter(({ grid, leastWorkgroups }) => workgroups(grid, upTo, gated ? 2 * columns : columns) >= leastWorkgroups)
    return { upTo, grids: [...filling.map(({ grid }) => grid), halfTile(columns)] }
  })
}

function workgroups ([rowGroups, columnGroups, , rowTiles, columnTiles]: Grid, rows: number, columns: number): number {
  return Math.ceil(rows / (16 * rowGroups * rowTiles)) * Math.ceil(columns / (16 * columnGroups * columnTiles))
}

/** The first choice for each number of rows that fits the adapter, and whose tiles leave a device room for parts. */
function partedProducts (columns: number, k: number, norm: NormBehind, fits: (choice: ProductChoice) => boolean): ProductChoice[] {
  const all = parted.filter(({ leastK, upTo }) => k >= leastK && (norm === 'parted' || upTo > MOST_DEFERRED)).flatMap(({ upTo, streamed = [], grids }) => [...streamed, ...grids].flatMap((grid, i): ProductChoice[] => {
    const groups = workgroups(grid, upTo, columns)
    const depth = grid[5]
    // Whose subgroups share K, too, are a workgroup for each processor.
    const most = grid[2] > 1 ? 144 : partedWorkgroups(upTo)
    const parts = [8, 4, 2].find(count => groups * count <= most && upTo <= partRows(count) && k / count >= LEAST_PART && k % (count * depth) === 0)
    return parts === undefined ? [] : [{ upTo, kernel: [i < streamed.length ? 'streamed' : 'staged', ...grid, parts] }]
  }))
  const fitting = all.filter(fits)
  return fitting.filter(({ upTo }, i) => fitting.findIndex(choice => choice.upTo === upTo) === i)
}

/** Columns of which there is a workgroup for every processor, and more, so that each may be small. */
const MANY_TILES = 3072
/** K tiles under way in a workgroup from where on it is worth having whole turns. */
const LEAST_AHEAD = 32

/**
 * How a single row streams a weight: it is bound by the weight's bytes, of which enough have to be under way. Where there are many workgroups each may be small, so that others
 * keep the memory busy while one adds up its sums; few cut K among more subgroups. Turns are whole where that leaves enough under way. Measured on an H100 and an H200
 * (docs/decisions/2026-11-27-five-dispatches-a-layer.md).
 */
export function vectorLoop (columns: number, k: number, { maxWorkgroupThreads }: Pick<DeviceCapabilities, 'maxWorkgroupThreads'>): Omit<GemvLoop, 'rows'> {
  const tiles = k / 16
  const [wanted, ahead] = columns >= MANY_TILES ? [8, k > 2048 ? 8 : 4] as const : [k > 4096 ? 32 : 16, 4] as const
  const most = Math.min(wanted, 2 ** Math.floor(Math.log2(maxWorkgroupThreads / 32)))
  for (let each = ahead; each >= 1; each /= 2) {
    for (let splits = most; splits >= 2; splits /= 2) {
      if (splits * each >= LEAST_AHEAD && tiles % (splits * each) === 0) return { splits, ahead: each, k, subgroup: 32 }
    }
  }
  return { splits: Math.min(most, 2 ** Math.max(1, Math.floor(Math.log2(tiles / 8)))), ahead: 8, k, subgroup: 32 }
}
