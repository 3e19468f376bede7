import { unroll } from '../unroll.ts'
import { columnGroups, rowVectors, turnsOf } from './layer-shape.ts'
import type { LayerProduct, WholeLayerShape } from './layer-shape.ts'

/** The text of a product, in two pieces, so that something else can be done between them. */
export interface ProductText {
  /** Asks for the first turn's weights. */
  readonly begin: string
  /** Multiplies `operand`, and hands each sum to what `emit` says. */
  readonly finish: string
}

/** What a product reads and what becomes of it, as text. */
export interface ProductEnds {
  /** Has a piece of the rows in `operand`, for all to see; the first is there. */
  readonly nextPiece: string
  /** For row `row`, column `column` of column tile `tile`, which is slot `slot`, with `sum`; for the gated product two columns from an even `column` on, with `both`. */
  readonly emit: string
}

/** How a team multiplies K tiles, and where its sums lie in workgroup memory. */
interface Loop {
  readonly declare: (name: string) => string
  readonly load: (weight: string, at: string) => string
  readonly clear: string
  readonly multiply: (weight: string, tile: string) => string
  /** Leaves the sums of a slot. Where they lie in the rows' memory, all teams must have read these. */
  readonly leave: (slot: string) => string
  /** A sum that was left. */
  readonly sum: (at: string) => string
  /** Where the sum of a column and row of a slot lies, and floats from one sharer's to the next's. */
  readonly at: (slot: string, column: string, row: string) => string
  readonly step: number
}

/** Floats between sharers' matrices of 16 columns and 8 rows: some more than they have, so that they lie in different banks. */
const MATRIX_FLOATS = 132

/** Floats of workgroup memory for teams' sums. */
export function sumFloats ({ rounds, abreast, sharers }: LayerProduct, shape: WholeLayerShape): number {
  const { rows, matrices } = shape
  return rounds * abreast * (matrices ? rows / 8 * sharers * MATRIX_FLOATS : rows * 16 * (sharers + 1))
}

/**
 * A workgroup's columns of `operand` · Wᵀ. W tiled f16, in binding `w_<name>`. Each turn's weights are asked for
 * before the turn before is multiplied. Teams' sums are added by lanes side by side.
 */
export function layerProduct (product: LayerProduct, shape: WholeLayerShape, { nextPiece, emit }: ProductEnds): ProductText {
  const { name, k, tiles, across, sharers, abreast, rounds, pieces, depth, ahead } = product
  const turns = turnsOf(product)
  const gated = name === 'gate_up'
  const perRound = depth / ahead
  const round = (turn: string): string => rounds === 1 ? '0u' : `(${turn}) / ${perRound}u`
  const inRound = (turn: string): string => rounds === 1 && pieces === 1 ? `(${turn})` : `(${turn}) % ${perRound}u`
  const slot = (turn: string): string => `(team / ${sharers}u + ${round(turn)} * ${abreast}u)`
  const groups = columnGroups(product, shape)
  const place = across === 1 ? 'me' : `me / ${across}u`
  const tile = (turn: string): string => gated ? `own_tile(${place}, ${slot(turn)} / 2u, ${groups}u, ${tiles}u) + (${slot(turn)} & 1u) * ${tiles}u` : `own_tile(${place}, ${slot(turn)}, ${groups}u, ${tiles}u)`
  /** In its piece. */
  const depthAt = (turn: string): string => `(team % ${sharers}u * ${depth}u + ${inRound(turn)} * ${ahead}u)`
  const pieceAt = (turn: string): string => pieces === 1 ? '' : ` + (${turn}) / ${perRound}u * ${k / 16 / across / pieces}u`
  const part = across === 1 ? '' : ` + me % ${across}u * ${k / 16 / across}u`
  const address = (turn: string): string => `((${tile(turn)}) * ${k / 16}u${part} + ${depthAt(turn)}${pieceAt(turn)}) * 32u`
  const units = (line: (u: number) => string): string => unroll(ahead, line)
  const loop = shape.matrices ? matrixLoop(product, shape) : laneLoop(product, shape)
  const multiply = (turn: string, weight: (u: number) => string): string => `{
      let k_at = ${depthAt(turn)};
      ${units(u => loop.multiply(weight(u), `k_at + ${u}u`))}
    }`
  const isLast = (turn: string): string => `${turn} % ${perRound}u == 0u`
  return {
    begin: `let ${name}_from = ${address('0u')};
  ${units(u => `var ${loop.declare(`${name}_${u}`)} = ${loop.load(`w_${name}`, `${name}_from + ${32 * u}u`)};`)}`,
    finish: `{
    ${loop.clear}
    for (var turn = 1u; turn < ${turns}u; turn++) {
      ${units(u => `let now_${u} = ${name}_${u};`)}
      let next = ${address('turn')};
      ${units(u => `${name}_${u} = ${loop.load(`w_${name}`, `next + ${32 * u}u`)};`)}
      ${multiply('turn - 1u', u => `now_${u}`)}
      ${rounds === 1 ? '' : `if (${isLast('turn')}) ${loop.leave(slot('turn - 1u'))}`}
      ${pieces === 1 ? '' : `if (${isLast('turn')}) { let piece = turn / ${perRound}u; ${nextPiece} }`}
    }
    ${multiply(`${turns - 1}u`, u => `${name}_${u}`)}
    ${shape.matrices ? 'workgroupBarrier();' : ''}
    ${loop.leave(slot(`${turns - 1}u`))}
  }
  workgroupBarrier();
  ${addSums(product, shape, loop, emit)}`
  }
}

/** A lane owns half a row of a tile, eight halves, and multiplies them for row after row. */
function laneLoop (product: LayerProduct, { rows }: WholeLayerShape): Loop {
  const { sharers } = product
  const stride = sharers + 1
  const each = (line: (r: number) => string): string => unroll(rows, line)
  return {
    step: 1,
    sum: at => `sums[${at}]`,
    at: (slot, column, row) => `((${slot}) * ${16 * rows}u + (${row}) * 16u + ${column}) * ${stride}u`,
    declare: name => name,
    load: (weight, at) => `${weight}[${at} + lane]`,
    clear: each(r => `var even_${r} = 0.0; var odd_${r} = 0.0;`),
    multiply: (weight, tile) => `{
        let w = ${weight};
        let x_at = (${tile}) * 2u + (lane & 1u);
        ${['x', 'y', 'z', 'w'].map(c => `let w_${c} = unpack2x16float(w.${c});`).join(' ')}
        ${each(r => `{
          let x = operand[x_at + ${r * rowVectors(product)}u];
          ${['x', 'y', 'z', 'w'].map(c => `{ let b = unpack2x16float(x.${c}); even_${r} = fma(w_${c}.x, b.x, even_${r}); odd_${r} = fma(w_${c}.y, b.y, odd_${r}); }`).join('\n          ')}
        }`)}
      }`,
    leave: slot => `{
      ${each(r => `{
        let half = even_${r} + odd_${r};
        let both = half + subgroupShuffleXor(half, 1u);
        if ((lane & 1u) == 0u) { sums[(${slot} * ${16 * rows}u + ${r * 16}u + lane / 2u) * ${stride}u + team % ${sharers}u] = both; }
        even_${r} = 0.0;
        odd_${r} = 0.0;
      }`)}
    }`
  }
}

/** A tile of the weight and eight rows are matrices: sixteen columns of the former, since rows are fewer than a tensor core has. */
function matrixLoop (product: LayerProduct, { rows }: WholeLayerShape): Loop {
  const { sharers } = product
  const each = (line: (n: number) => string): string => unroll(rows / 8, line)
  const at = (slot: string, n: string): string => `(((${slot}) * ${rows / 8}u + ${n}) * ${sharers}u + team % ${sharers}u) * ${MATRIX_FLOATS / 4}u`
  return {
    step: MATRIX_FLOATS,
    sum: at => `bitcast<f32>(operand[(${at}) / 4u][(${at}) % 4u])`,
    at: (slot, column, row) => `((${slot}) * ${rows / 8}u + (${row}) / 8u) * ${sharers * MATRIX_FLOATS}u + (${row}) % 8u * 16u + ${column}`,
    declare: name => `${name}: subgroup_matrix_left<f16, 16, 16>`,
    load: (weight, at) => `subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&${weight}, ${at}, 2u)`,
    clear: each(n => `var sums_${n} = subgroup_matrix_result<f32, 8, 16>(0.0);`),
    multiply: (weight, tile) => each(n => `sums_${n} = subgroupMatrixMultiplyAccumulate(${weight}, subgroupMatrixLoad<subgroup_matrix_right<f16, 8, 16>, col_major>(&operand, ${n * 8 * rowVectors(product)}u + (${tile}) * 2u, ${rowVectors(product)}u), sums_${n});`),
    leave: slot => `{ ${each(n => `subgroupMatrixStore<col_major>(&operand, ${at(slot, `${n}u`)}, sums_${n}, 4u);`)} }`
  }
}

/** A sum is added by so many lanes; gate, up, and the next column's lie side by side, too. */
function addSums (product: LayerProduct, shape: WholeLayerShape, { at, step, sum: sumAt }: Loop, emit: string): string {
  const { name, across, sharers, slots, tiles } = product
  const { rows, teams, subgroup } = shape
  const groups = columnGroups(product, shape)
  const threads = 32 * teams
  const gated = name === 'gate_up'
  const wanted = 2 ** Math.floor(Math.log2(threads / (slots * 16 * rows)))
  const lanes = Math.max(1, Math.min(gated ? subgroup / 4 : subgroup, sharers, wanted))
  const add = (slot: string): string => `let at = ${at(slot, 'column', 'row')} + n % ${lanes}u * ${step}u;
    var sum = ${sumAt('at')};
    ${unroll(sharers / lanes - 1, i => `sum += ${sumAt(`at + ${(i + 1) * lanes * step}u`)};`)}
    ${unroll(Math.log2(lanes), bit => `sum += subgroupShuffleXor(sum, ${1 << bit}u);`)}`
  const count = slots * 16 * rows * lanes
  const known = rows === 1 ? '' : ' && row < count'
  if (!gated) {
    return `for (var n = thread; n < ${count}u; n += ${threads}u) {
    let column = n / ${lanes}u % 16u;
    let row = ${rows === 1 ? '0u' : `n / ${16 * lanes}u % ${rows}u`};
    let slot = n / ${16 * rows * lanes}u;
    ${add('slot')}
    let tile = ${across === 1 ? 'me' : `me / ${across}u`} + slot * ${groups}u;
    if (n % ${lanes}u == 0u && tile < ${tiles}u${known}) { ${emit} }
  }`
  }
  return `for (var n = thread; n < ${count}u; n += ${threads}u) {
    let column = n / ${2 * lanes}u % 16u;
    let row = ${rows === 1 ? '0u' : `n / ${32 * lanes}u % ${rows}u`};
    let slot = n / ${32 * rows * lanes}u;
    ${add(`slot * 2u + n / ${lanes}u % 2u`)}
    let up = subgroupShuffleXor(sum, ${lanes}u);
    let one = clamp(sum / (1.0 + exp(-sum)) * up, -F16_MAX, F16_MAX);
    let both = vec2<f32>(one, subgroupShuffleXor(one, ${2 * lanes}u));
    let tile = me + slot * ${groups}u;
    if (n % ${4 * lanes}u == 0u && tile < ${tiles}u${known}) { ${emit} }
  }`
}
