import { unroll } from '../unroll.ts'

/** How a workgroup of a staged tensor-core product is laid out. */
export interface MmaGrid {
  /** Subgroups side by side along rows of x, along output columns, and along K. */
  readonly rowGroups: number
  readonly columnGroups: number
  readonly depthGroups: number
  /** Tiles of 16 × 16 a subgroup accumulates: rows × columns. Gated, a gate and its up tile count as two columns. */
  readonly rowTiles: number
  readonly columnTiles: number
  /** K staged at a time, a multiple of 16 · depthGroups. */
  readonly depth: number
  /** Parts K is cut into, each by workgroups of its own; default 1. */
  readonly parts?: number
  readonly subgroup: number
}

/** Which weights a workgroup multiplies, and what becomes of their sums. */
export interface MmaOutputs {
  readonly title: string
  /** Bindings, overrides, and `fn column_vector(group: u32, n: u32, row: u32) -> u32`: row 0 to 15 of the workgroup's n-th column tile in K tile 0. */
  readonly header: string
  /** Rows of x. */
  readonly rows: string
  /** Column tiles whose sums are stored together: a gate's and its up tile. */
  readonly streams: 1 | 2
  /** Outputs that are made of such sums; each subgroup that shares K stores some of them. */
  readonly perTile: 128 | 256
  /**
   * Stores output `element` of row `m0 + row0 + …`: `row0` is the tile's first row within the workgroup's, `tile` its number among all column tiles
   * (gated: among gates), `sum(stream, index)` the sum at an index of the tile's 256.
   */
  readonly store: (sum: (stream: number, index: string) => string) => string
  /** Where accumulators begin and end without passing through workgroup memory, for each of them. */
  readonly direct?: {
    readonly condition: string
    readonly begin: (accumulator: string, row0: string, tile: string) => string
    readonly end: (accumulator: string, row0: string, tile: string) => string
    /** Nothing is stored by `store`. */
    readonly always: boolean
  }
}

/** Row pitch of what is staged, in vectors of 8 halves: an odd number of them keeps the rows of a matrix load in different banks. */
const pitchOf = (depth: number): number => depth / 8 + 1

/** Rows of x a workgroup serves. */
export function mmaGridRows ({ rowGroups, rowTiles }: MmaGrid): number {
  return 16 * rowGroups * rowTiles
}

/** Rows of W a workgroup serves. */
export function mmaGridColumns ({ columnGroups, columnTiles }: MmaGrid): number {
  return 16 * columnGroups * columnTiles
}

/** Bytes of workgroup memory: both operands' stage, and a tile (two, if two are stored together) of f32 for every subgroup. */
export function mmaProductBytes ({ rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth }: MmaGrid, streams: number): number {
  return 16 * pitchOf(depth) * 16 * (rowGroups * rowTiles + columnGroups * columnTiles) + rowGroups * columnGroups * depthGroups * streams * 1024
}

/** What tells the names of kernels apart. */
export function mmaGridName ({ rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, parts = 1 }: MmaGrid): string {
  return `g${rowGroups}x${columnGroups}x${depthGroups}_t${rowTiles}x${columnTiles}_k${depth}${parts > 1 ? `_p${parts}` : ''}`
}

/**
 * The text of a product on tensor cores, both operands staged through workgroup memory: x `[M][K]` f16 (rows padded to the workgroup's), W tiled
 * f16, f32 accumulation. The next stage is loaded into registers before the present one is multiplied, so that memory latency
 * passes behind the products.
 *
 * With one depth group an accumulator takes all of K in ascending order: the form for many rows. With several, each takes every
 * `depthGroups`-th step of 16 and their sums are added in ascending order: the flat form, where few rows leave no other
 * parallelism.
 * Dispatched with x over row tiles, so that workgroups that run together share W, and parts last.
 * Bytes: ceil(M/rows)·N·K + ceil(N/columns)·M·K halves; operations 2·M·N·K.
 * @see FlashDecoding++ (Hong et al. 2023) part 2. Differs: the double buffer is in registers. Two stages in workgroup memory, with one
 * barrier a step, were slower.
 */
export function mmaProduct (grid: MmaGrid, { title, header, rows, streams, perTile, store, direct }: MmaOutputs): string {
  const { rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, parts = 1, subgroup } = grid
  const threads = rowGroups * columnGroups * depthGroups * subgroup
  const pitch = pitchOf(depth)
  const rowVectors = 16 * rowGroups * rowTiles * depth / 8
  const columnVectors = 16 * columnGroups * columnTiles * depth / 8
  const pieces = (vectors: number, line: (n: number, e: string) => string): string =>
    unroll(Math.ceil(vectors / threads), n => {
      const guarded = (n + 1) * threads > vectors
      return `{ let e = thread + ${n * threads}u; ${guarded ? `if (e < ${vectors}u) { ${line(n, 'e')} }` : line(n, 'e')} }`
    })
  // Vectors of a stage: [column tile][K tile][row][half].
  const load = (kt: string): string => `
      ${pieces(rowVectors, (n, e) => `next_x_${n} = x[(m0 + ${e} / ${depth / 8}u) * (K / 8u) + (${kt}) * 2u + ${e} % ${depth / 8}u];`)}
      ${pieces(columnVectors, (n, e) => `next_w_${n} = weight[column_vector(wg.y, ${e} / ${2 * depth}u, ${e} % 32u / 2u) + (${kt} + ${e} % ${2 * depth}u / 32u) * 32u + ${e} % 2u];`)}`
  const stage = `
      ${pieces(rowVectors, (n, e) => `tile_x[${e} / ${depth / 8}u * ${pitch}u + ${e} % ${depth / 8}u] = next_x_${n};`)}
      ${pieces(columnVectors, (n, e) => `tile_w[(${e} / ${2 * depth}u * 16u + (${e} % 32u) / 2u) * ${pitch}u + (${e} % ${2 * depth}u) / 32u * 2u + ${e} % 2u] = next_w_${n};`)}`
  const multiply = unroll(depth / 16 / depthGroups, u => `{
        let k16 = ${u * depthGroups}u${depthGroups > 1 ? ' + depth_group' : ''};
        ${unroll(columnTiles, j => `let b_${j} = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tile_w, (column_group * ${columnTiles}u + ${j}u) * ${16 * pitch}u + k16 * 2u, ${pitch}u);`)}
        ${unroll(rowTiles, i => `let a_${i} = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tile_x, (row_group * ${rowTiles}u + ${i}u) * ${16 * pitch}u + k16 * 2u, ${pitch}u);
        ${unroll(columnTiles, j => `acc_${i}_${j} = subgroupMatrixMultiplyAccumulate(a_${i}, b_${j}, acc_${i}_${j});`)}`)}
      }`)
  const [firstTile, endTile] = parts > 1 ? ['wg.z * part_tiles', '(wg.z + 1u) * part_tiles'] : ['0u', 'k_tiles']

  const tiles = Array.from({ length: rowTiles }, (_, i) => Array.from({ length: columnTiles }, (_, j) => ({ i, j }))).flat()
  const row0 = (i: number): string => `(row_group * ${rowTiles}u + ${i}u) * 16u`
  const tileOf = (j: number): string => `wg.y * ${columnGroups * columnTiles / streams}u + column_group * ${columnTiles / streams}u + ${j / streams}u`
  const share = perTile / depthGroups
  const sum = (stream: number, index: string): string =>
    Array.from({ length: depthGroups }, (_, d) => `stage[((sg / ${depthGroups}u * ${depthGroups}u + ${d}u) * ${streams}u + ${stream}u) * 256u + ${index}]`).join(' + ')
  // One tile (or two that are stored together) after the other passes through workgroup memory: a matrix' elements cannot be reached otherwise.
  const finish = tiles.filter(({ j }) => j % streams === 0).map(({ i, j }) => `
    workgroupBarrier();
    ${unroll(streams, s => `subgroupMatrixStore<row_major>(&stage, (sg * ${streams}u + ${s}u) * 256u, acc_${i}_${j + s}, 16u);`)}
    workgroupBarrier();
    ${unroll(Math.ceil(share / subgroup), q => `${share < subgroup ? `if (lane < ${share}u) ` : ''}{
      let element = ${depthGroups > 1 ? `depth_group * ${share}u + ` : ''}lane + ${q * subgroup}u;
      let row0 = ${row0(i)};
      let tile = ${tileOf(j)};
      ${store(sum)}
    }`)}`).join('\n')
  const eachTile = (line: (accumulator: string, row0: string, tile: string) => string): string =>
    tiles.map(({ i, j }) => `if (${tileOf(j)} < own_tiles) { ${line(`acc_${i}_${j}`, row0(i), tileOf(j))} }`).join('\n')

  return `
// ${title}, ${16 * rowGroups * rowTiles} × ${16 * columnGroups * columnTiles} products a workgroup, K in steps of ${depth}; generated by mma-product.ts
${header}
var<workgroup> tile_x: array<vec4<u32>, ${16 * rowGroups * rowTiles * pitch}>;
var<workgroup> tile_w: array<vec4<u32>, ${16 * columnGroups * columnTiles * pitch}>;
var<workgroup> stage: array<f32, ${rowGroups * columnGroups * depthGroups * streams * 256}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tokens = ${rows};
  let m0 = wg.x * ${16 * rowGroups * rowTiles}u;
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
  ${direct === undefined || direct.begin('', '', '') === '' ? '' : `if (direct) { ${eachTile(direct.begin)} }`}
  ${unroll(Math.ceil(rowVectors / threads), n => `var next_x_${n}: vec4<u32>;`)}
  ${unroll(Math.ceil(columnVectors / threads), n => `var next_w_${n}: vec4<u32>;`)}
  ${load(firstTile)}
  for (var kt = ${firstTile}; kt < ${endTile}; kt += ${depth / 16}u) {
    workgroupBarrier();
    ${stage}
    workgroupBarrier();
    if (kt + ${depth / 16}u < ${endTile}) { ${load(`kt + ${depth / 16}u`)} }
    ${multiply}
  }
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
