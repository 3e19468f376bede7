import { unroll } from '../unroll.ts'
import { mmaGridColumns, mmaGridRows, mmaGridThreads } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'

/** How a product's operands reach the tensor cores. */
export interface MmaOperands {
  /** Vectors of 8 halves in workgroup memory, `tiles`. */
  readonly vectors: number
  /** The order in which a matrix of sums is stored, for x's rows to be memory's. */
  readonly order: 'row_major' | 'col_major'
  /** Adds K tiles from `kt` to before `end` to `acc_<row tile>_<column tile>`; K is whole steps of the grid's depth, at least one. */
  readonly loop: string
}

/** Row pitch of what is staged, in vectors: an odd number of them keeps the rows of a matrix load in different banks. */
const pitchOf = (depth: number): number => depth / 8 + 1

/** Vectors in workgroup memory: a stage of x and of the weight, or two of x alone. */
export function mmaOperandVectors (grid: MmaGrid): number {
  return pitchOf(grid.depth) * (grid.weights === 'staged' ? mmaGridRows(grid) + mmaGridColumns(grid) : 2 * mmaGridRows(grid))
}

/** @param waited statements where the first loads are waited for */
export function mmaOperands (grid: MmaGrid, waited = ''): MmaOperands {
  return { vectors: mmaOperandVectors(grid), ...grid.weights === 'staged' ? staged(grid, waited) : streamed(grid, waited) }
}

/** Vectors that a workgroup's lanes move from storage to workgroup memory, one each at a time. */
interface Move {
  /** Declares where each comes from in K tile 0, and where it goes to. */
  readonly places: string
  /** Asks for a stage from K tile `kt` on. */
  readonly load: (kt: string) => string
  /** Puts what was asked for at `base`. */
  readonly put: (base: string) => string
}

/** Eight neighbouring lanes store two vectors each of every other row: with an odd pitch those are different banks, of neighbouring rows they are not. */
const everyOtherRow = (e: string): string => `((${e} >> 1u) % 4u * 2u + (${e} >> 3u) % 2u)`

function move (name: string, vectors: number, threads: number, place: (n: number, e: string) => string, load: (n: number, kt: string) => string): Move {
  const pieces = (line: (n: number) => string): string => unroll(Math.ceil(vectors / threads), n => (n + 1) * threads > vectors ? `if (thread + ${n * threads}u < ${vectors}u) { ${line(n)} }` : line(n))
  return {
    places: unroll(Math.ceil(vectors / threads), n => `${place(n, `(thread + ${n * threads}u)`)} var next_${name}_${n}: vec4<u32>;`),
    load: kt => pieces(n => `next_${name}_${n} = ${load(n, kt)};`),
    put: base => pieces(n => `tiles[${base} + ${name}_to_${n}] = next_${name}_${n};`)
  }
}

function moveRows (grid: MmaGrid): Move {
  const { depth } = grid
  const vectors = depth / 8
  const at = (e: string): readonly [row: string, vector: string] => vectors === 4
    ? [`(${e} / 32u * 8u + ${everyOtherRow(e)})`, `(${e} % 2u + (${e} >> 4u) % 2u * 2u)`]
    : vectors === 2 ? [`(${e} / 32u * 16u + ${everyOtherRow(e)} + (${e} >> 4u) % 2u * 8u)`, `(${e} % 2u)`] : [`(${e} / ${vectors}u)`, `(${e} % ${vectors}u)`]
  const place = (n: number, e: string): string => {
    const [row, vector] = at(e)
    return `let x_from_${n} = (m0 + ${row}) * (K / 8u) + ${vector}; let x_to_${n} = ${row} * ${pitchOf(depth)}u + ${vector};`
  }
  return move('x', mmaGridRows(grid) * vectors, mmaGridThreads(grid), place, (n, kt) => `x[x_from_${n} + (${kt}) * 2u]`)
}

/** Vectors of a stage: [column tile][K tile][row][half]. */
function moveColumns (grid: MmaGrid): Move {
  const { depth } = grid
  const place = (n: number, e: string): string => `let w_row_${n} = ${everyOtherRow(e)} + (${e} >> 4u) % 2u * 8u;
    let w_step_${n} = ${e} % ${2 * depth}u / 32u;
    let w_from_${n} = column_vector(wg.y, ${e} / ${2 * depth}u, w_row_${n}) + w_step_${n} * 32u + ${e} % 2u;
    let w_to_${n} = (${e} / ${2 * depth}u * 16u + w_row_${n}) * ${pitchOf(depth)}u + w_step_${n} * 2u + ${e} % 2u;`
  return move('w', mmaGridColumns(grid) * depth / 8, mmaGridThreads(grid), place, (n, kt) => `weight[w_from_${n} + (${kt}) * 32u]`)
}

/** Both operands through workgroup memory, the next stage loaded into registers before the present one is multiplied. */
function staged (grid: MmaGrid, waited: string): Omit<MmaOperands, 'vectors'> {
  const { depthGroups, rowTiles, columnTiles, depth } = grid
  const pitch = pitchOf(depth)
  const columnsAt = mmaGridRows(grid) * pitch
  const [x, w] = [moveRows(grid), moveColumns(grid)]
  return {
    order: 'row_major',
    loop: `
  ${x.places}
  ${w.places}
  ${x.load('kt')}
  ${w.load('kt')}
  ${waited}
  for (; kt < end; kt += ${depth / 16}u) {
    workgroupBarrier();
    ${x.put('0u')}
    ${w.put(`${columnsAt}u`)}
    if (kt + ${depth / 16}u < end) { ${x.load(`kt + ${depth / 16}u`)} ${w.load(`kt + ${depth / 16}u`)} }
    workgroupBarrier();
    ${unroll(depth / 16 / depthGroups, u => `{
      let k16 = ${u * depthGroups}u${depthGroups > 1 ? ' + depth_group' : ''};
      ${unroll(columnTiles, j => `let b_${j} = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, ${columnsAt}u + (column_group * ${columnTiles}u + ${j}u) * ${16 * pitch}u + k16 * 2u, ${pitch}u);`)}
      ${unroll(rowTiles, i => `let a_${i} = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tiles, (row_group * ${rowTiles}u + ${i}u) * ${16 * pitch}u + k16 * 2u, ${pitch}u);
      ${unroll(columnTiles, j => `acc_${i}_${j} = subgroupMatrixMultiplyAccumulate(a_${i}, b_${j}, acc_${i}_${j});`)}`)}
    }`)}
  }`
  }
}

/**
 * x alone through workgroup memory, in two stages with one barrier each; the weight's tiles come straight from storage, as the left operand: four loads of four bytes a lane, where
 * a right one's are eight of two (NVIDIA). They are asked for before the barrier, which does not wait for them.
 */
function streamed (grid: MmaGrid, waited: string): Omit<MmaOperands, 'vectors'> {
  const { depthGroups, rowTiles, columnTiles, depth } = grid
  const pitch = pitchOf(depth)
  const step = depth / 16
  const share = step / depthGroups
  const stage = mmaGridRows(grid) * pitch
  const x = moveRows(grid)
  const first = depthGroups > 1 ? ` + depth_group * ${share}u` : ''
  const turn = (present: number): string => `{
    ${unroll(share, u => unroll(columnTiles, j => `let a_${u}_${j} = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&weight, (tile_${j} + kt${first} + ${u}u) * 32u, 2u);`))}
    workgroupBarrier();
    ${x.put(`${(1 - present) * stage}u`)}
    { let ahead = min(kt + ${2 * step}u, end - ${step}u); ${x.load('ahead')} }
    ${unroll(share, u => `{
      ${unroll(rowTiles, i => `let b_${i} = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, ${present * stage}u + (row_group * ${rowTiles}u + ${i}u) * ${16 * pitch}u + (${u}u${first}) * 2u, ${pitch}u);
      ${unroll(columnTiles, j => `acc_${i}_${j} = subgroupMatrixMultiplyAccumulate(a_${u}_${j}, b_${i}, acc_${i}_${j});`)}`)}
    }`)}
    kt += ${step}u;
  }`
  return {
    order: 'col_major',
    loop: `
  ${unroll(columnTiles, j => `let tile_${j} = column_tile(wg.y, column_group * ${columnTiles}u + ${j}u) * (K / 16u);`)}
  ${x.places}
  ${x.load('kt')}
  ${x.put('0u')}
  ${waited}
  ${x.load(`min(kt + ${step}u, end - ${step}u)`)}
  while (kt < end) {
    ${turn(0)}
    if (kt >= end) { break; }
    ${turn(1)}
  }`
  }
}
