import { unroll } from '../unroll.ts'
import { turnsOf } from './layer-shape.ts'
import type { LayerProduct, WholeLayerShape } from './layer-shape.ts'

/** Floats between the sums of two columns: an odd number, so that sharers' sums lie in different banks. */
const strideOf = ({ sharers }: LayerProduct): number => sharers + 1

/** Floats of workgroup memory for teams' sums. */
export function sumFloats (product: LayerProduct): number {
  return product.rounds * product.abreast * 16 * strideOf(product)
}

/** The text of a product, in two pieces, so that something else can be done between them. */
export interface ProductText {
  /** Asks for the first turn's weights. */
  readonly begin: string
  /** Multiplies `operand`, and hands each sum to what `emit` says. */
  readonly finish: string
}

/**
 * A workgroup's columns of `operand` · Wᵀ. W tiled f16, in binding `w_<name>`: a lane owns half a row of a tile, eight halves. Each turn's weights are asked for
 * before the turn before is multiplied. Teams' sums are added by lanes side by side.
 * @param emit for row `row` of column tile `tile`, with `sum`; for the gated product two rows from an even `row` on, with `sums`
 */
export function layerProduct (product: LayerProduct, shape: WholeLayerShape, emit: string): ProductText {
  const { name, k, tiles, slots, sharers, abreast, rounds, depth, ahead } = product
  const { workgroups, subgroup } = shape
  const threads = 32 * shape.teams
  const turns = turnsOf(product)
  const gated = name === 'gate_up'
  const round = (turn: string): string => rounds === 1 ? '0u' : `(${turn}) / ${depth / ahead}u`
  const inRound = (turn: string): string => rounds === 1 ? `(${turn})` : `(${turn}) % ${depth / ahead}u`
  const slot = (turn: string): string => `(team / ${sharers}u + ${round(turn)} * ${abreast}u)`
  const tile = (turn: string): string => gated ? `own_tile(me, ${slot(turn)} / 2u, ${tiles}u) + (${slot(turn)} & 1u) * ${tiles}u` : `own_tile(me, ${slot(turn)}, ${tiles}u)`
  const depthAt = (turn: string): string => `(team % ${sharers}u * ${depth}u + ${inRound(turn)} * ${ahead}u)`
  const address = (turn: string): string => `((${tile(turn)}) * ${k / 16}u + ${depthAt(turn)}) * 32u + lane`
  const units = (line: (u: number) => string): string => unroll(ahead, line)
  const multiply = (turn: string, weight: (u: number) => string): string => `{
      let x_at = ${depthAt(turn)} * 2u + (lane & 1u);
      ${units(u => `{
        let x = operand[x_at + ${2 * u}u];
        let w = ${weight(u)};
        ${['x', 'y', 'z', 'w'].map(c => `{ let a = unpack2x16float(w.${c}); let b = unpack2x16float(x.${c}); even = fma(a.x, b.x, even); odd = fma(a.y, b.y, odd); }`).join('\n        ')}
      }`)}
    }`
  const leave = (turn: string): string => `{
      let half = even + odd;
      let both = half + subgroupShuffleXor(half, 1u);
      if ((lane & 1u) == 0u) { sums[(${slot(turn)} * 16u + lane / 2u) * ${strideOf(product)}u + team % ${sharers}u] = both; }
      even = 0.0;
      odd = 0.0;
    }`
  return {
    begin: `let ${name}_from = ${address('0u')};
  ${units(u => `var ${name}_${u} = w_${name}[${name}_from + ${32 * u}u];`)}`,
    finish: `{
    var even = 0.0;
    var odd = 0.0;
    for (var turn = 1u; turn < ${turns}u; turn++) {
      ${units(u => `let now_${u} = ${name}_${u};`)}
      let next = ${address('turn')};
      ${units(u => `${name}_${u} = w_${name}[next + ${32 * u}u];`)}
      ${multiply('turn - 1u', u => `now_${u}`)}
      ${rounds === 1 ? '' : `if (turn % ${depth / ahead}u == 0u) ${leave('turn - 1u')}`}
    }
    ${multiply(`${turns - 1}u`, u => `${name}_${u}`)}
    ${leave(`${turns - 1}u`)}
  }
  workgroupBarrier();
  ${addSums(product, { threads, lanes: Math.min(gated ? subgroup / 4 : subgroup, sharers), slots, workgroups }, emit)}`
  }
}

/** A column's sums are added by so many lanes; gate, up, and the next row's lie side by side, too. */
function addSums (product: LayerProduct, { threads, lanes, slots, workgroups }: { threads: number, lanes: number, slots: number, workgroups: number }, emit: string): string {
  const { name, sharers, tiles } = product
  const add = `let at = column * ${strideOf(product)}u + n % ${lanes}u;
    var sum = sums[at];
    ${unroll(sharers / lanes - 1, i => `sum += sums[at + ${(i + 1) * lanes}u];`)}
    ${unroll(Math.log2(lanes), bit => `sum += subgroupShuffleXor(sum, ${1 << bit}u);`)}`
  if (name !== 'gate_up') {
    return `for (var n = thread; n < ${slots * 16 * lanes}u; n += ${threads}u) {
    let column = n / ${lanes}u;
    ${add}
    let tile = me + column / 16u * ${workgroups}u;
    let row = column % 16u;
    if (n % ${lanes}u == 0u && tile < ${tiles}u) { ${emit} }
  }`
  }
  return `for (var n = thread; n < ${slots * 16 * lanes}u; n += ${threads}u) {
    let pair = n / ${2 * lanes}u;
    let column = pair / 16u * 32u + n / ${lanes}u % 2u * 16u + pair % 16u;
    ${add}
    let up = subgroupShuffleXor(sum, ${lanes}u);
    let one = clamp(sum / (1.0 + exp(-sum)) * up, -F16_MAX, F16_MAX);
    let both = vec2<f32>(one, subgroupShuffleXor(one, ${2 * lanes}u));
    let tile = me + pair / 16u * ${workgroups}u;
    let row = pair % 16u;
    if (n % ${4 * lanes}u == 0u && tile < ${tiles}u) { ${emit} }
  }`
}
