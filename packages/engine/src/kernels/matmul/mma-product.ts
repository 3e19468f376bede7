import { unroll } from '../unroll.ts'
import { mmaGridColumns, mmaGridRows, mmaGridThreads } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'
import { mmaOperandVectors, mmaOperands } from './mma-operands.ts'

/** Which weights a workgroup multiplies, and what becomes of their sums. */
export interface MmaOutputs {
  readonly title: string
  /**
   * Bindings, overrides, and which weights they are: `fn column_vector(group: u32, n: u32, row: u32) -> u32`, row 0 to 15 of the workgroup's n-th column tile
   * in K tile 0, where weights are staged; `fn column_tile(group: u32, n: u32) -> u32`, that tile's number among the weight's, where they are streamed.
   */
  readonly header: string
  /** Rows of x. */
  readonly rows: string
  /** Column tiles whose sums are stored together: a gate's and its up tile. */
  readonly streams: 1 | 2
  /** Outputs that are made of such sums; each subgroup that shares K stores some of them. */
  readonly perTile: 128 | 256
  /**
   * Stores output `element` of row `m0 + row0 + …`: `row0` is the tile's first row within the workgroup's, `tile` its number among all column tiles
   * (of two that are stored together: among such), `sum(stream, index)` the sum at an index of the tile's 256, `n` counts a lane's outputs.
   */
  readonly store: (sum: (stream: number, index: string) => string, n: number) => string
  /** Asks for what `store` needs of a lane's n-th output before any operand is there: declarations, of names that n tells apart. */
  readonly ahead?: (n: number, element: string, row0: string, tile: string) => string
  /** `store` is run by whole subgroups, of which those lanes have an element of their own that are `mine`. */
  readonly wholeSubgroups?: boolean
  /** Statements before the first operands are asked for, and where these are waited for. */
  readonly begin?: string
  readonly waited?: string
  /** Where accumulators begin and end without passing through workgroup memory, for each of them, by the order that their rows have there. */
  readonly direct?: {
    readonly condition: string
    readonly begin: (accumulator: string, row0: string, tile: string, order: string) => string
    readonly end: (accumulator: string, row0: string, tile: string, order: string) => string
    /** Nothing is stored by `store`. */
    readonly always: boolean
  }
}

/** Vectors of a tile of sums, f32. */
const SUM_VECTORS = 64

function productVectors (grid: MmaGrid, streams: number): number {
  return Math.max(mmaOperandVectors(grid), mmaGridThreads(grid) / grid.subgroup * streams * SUM_VECTORS)
}

/** Bytes of workgroup memory: of the operands, where afterwards a tile of sums (two, if two are stored together) of every subgroup lies. */
export function mmaProductBytes (grid: MmaGrid, streams: number): number {
  return 16 * productVectors(grid, streams)
}

/**
 * The text of a product on tensor cores: x `[M][K]` f16 (rows padded to the workgroup's), W tiled f16, f32 accumulation. How operands get there:
 * mma-operands.ts.
 *
 * With one depth group an accumulator takes all of K in ascending order: the form for many rows. With several, each takes its share of every step, and their sums are
 * added in ascending order: the flat form, where few rows leave no other parallelism.
 * Dispatched with x over row tiles, so that workgroups that run together share W, and parts last.
 * Bytes: ceil(M/rows)·N·K + ceil(N/columns)·M·K halves; operations 2·M·N·K.
 * @see FlashDecoding++ (Hong et al. 2023) part 2. Differs: staged weights are double-buffered in registers, since two stages of both operands in workgroup memory
 * leave room for half as many workgroups (docs/decisions/2026-11-27-streamed-products.md).
 */
export function mmaProduct (grid: MmaGrid, { title, header, rows, streams, perTile, store, ahead, wholeSubgroups = false, begin = '', waited = '', direct }: MmaOutputs): string {
  const { rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, parts = 1, subgroup } = grid
  const { order, loop } = mmaOperands(grid, waited)
  const [firstTile, endTile] = parts > 1 ? ['wg.z * part_tiles', '(wg.z + 1u) * part_tiles'] : ['0u', 'k_tiles']
  const tiles = Array.from({ length: rowTiles }, (_, i) => Array.from({ length: columnTiles }, (_, j) => ({ i, j }))).flat()
  const row0 = (i: number): string => `(row_group * ${rowTiles}u + ${i}u) * 16u`
  const tileOf = (j: number): string => `wg.y * ${columnGroups * columnTiles / streams}u + column_group * ${columnTiles / streams}u + ${j / streams}u`
  const share = perTile / depthGroups
  const word = (d: number, stream: number, index: string): string => `((sg / ${depthGroups}u * ${depthGroups}u + ${d}u) * ${streams}u + ${stream}u) * ${4 * SUM_VECTORS}u + ${index}`
  const sum = (stream: number, index: string): string =>
    Array.from({ length: depthGroups }, (_, d) => `bitcast<f32>(tiles[(${word(d, stream, index)}) / 4u][(${index}) % 4u])`).join(' + ')
  const turns = Math.ceil(share / subgroup)
  const stored = tiles.filter(({ j }) => j % streams === 0)
  const elementOf = (q: number): string => `${depthGroups > 1 ? `depth_group * ${share}u + ` : ''}lane${wholeSubgroups && share < subgroup ? ` % ${share}u` : ''} + ${q * subgroup}u`
  const asked = ahead === undefined ? '' : stored.flatMap(({ i, j }, at) => Array.from({ length: turns }, (_, q) => ahead(at * turns + q, elementOf(q), row0(i), tileOf(j)))).join('\n  ')
  // One tile (or two that are stored together) after the other passes through workgroup memory: a matrix' elements cannot be reached otherwise.
  const finish = stored.map(({ i, j }, at) => `
    workgroupBarrier();
    ${unroll(streams, s => `subgroupMatrixStore<${order}>(&tiles, (sg * ${streams}u + ${s}u) * ${SUM_VECTORS}u, acc_${i}_${j + s}, 4u);`)}
    workgroupBarrier();
    ${unroll(turns, q => `${share < subgroup && !wholeSubgroups ? `if (lane < ${share}u) ` : ''}{
      ${wholeSubgroups ? `let mine = lane < ${share}u;` : ''}
      let element = ${elementOf(q)};
      let row0 = ${row0(i)};
      let tile = ${tileOf(j)};
      ${store(sum, at * turns + q)}
    }`)}`).join('\n')
  const eachTile = (line: (accumulator: string, row0: string, tile: string, order: string) => string): string =>
    tiles.map(({ i, j }) => `if (${tileOf(j)} < own_tiles) { ${line(`acc_${i}_${j}`, row0(i), tileOf(j), order)} }`).join('\n')

  return `
// ${title}, ${mmaGridRows(grid)} × ${mmaGridColumns(grid)} products a workgroup, K in steps of ${depth}; generated by mma-product.ts
${header}
/** Operands, then sums. */
var<workgroup> tiles: array<vec4<u32>, ${productVectors(grid, streams)}>;

@compute @workgroup_size(${mmaGridThreads(grid)})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tokens = ${rows};
  let m0 = wg.x * ${mmaGridRows(grid)}u;
  let sg = thread / ${subgroup}u;
  let lane = thread % ${subgroup}u;
  let depth_group = sg % ${depthGroups}u;
  let row_group = sg / ${depthGroups}u % ${rowGroups}u;
  let column_group = sg / ${depthGroups * rowGroups}u;
  let k_tiles = K / 16u;
  let own_tiles = OWN_COLUMNS / 16u;
  ${parts > 1 ? `let part_tiles = k_tiles / ${parts}u;` : ''}
  let direct = ${direct?.condition ?? 'false'};
  ${tiles.map(({ i, j }) => `var acc_${i}_${j}: subgroup_matrix_result<f32, 16, 16>;`).join('\n')}
  ${begin}
  ${asked}
  ${direct === undefined || direct.begin('', '', '', '') === '' ? '' : `if (direct) { ${eachTile(direct.begin)} }`}
  var kt = ${firstTile};
  let end = ${endTile};
  ${loop}
  ${direct === undefined
? ''
: `if (direct) {
    ${eachTile(direct.end)}
    return;
  }`}
  ${direct?.always === true ? '' : finish}
}
`
}
