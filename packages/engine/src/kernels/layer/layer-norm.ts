import { unroll } from '../unroll.ts'
import { waitForAll } from './layer-exchange.ts'
import { rowVectors } from './layer-shape.ts'
import type { LayerProduct, WholeLayerShape } from './layer-shape.ts'

/** How rows come to be in workgroup memory, as text: the first piece of K, and piece `piece` behind it, where there are several. */
export interface RowsText { readonly first: string, readonly next: string }

/** What is normalised, as text for pair `p` of row `norm_row`, whose elements lie from `at` on in a buffer of rows. */
export interface NormalisedValues {
  /** The binding of the norm's weight. */
  readonly norm: string
  /** Asks for a pair, into `x_<i>`, `a_<i>` and `b_<i>`. */
  readonly ask: (i: number) => string
  /** Two words of it that other workgroups publish, side by side from one on, and what becomes of them. */
  readonly words?: { readonly from: number, readonly take: (i: number) => string }
  /** What else is done before the squares are added up. */
  readonly between?: string
  /** Keeps what the workgroup needs of it later. */
  readonly keep?: (i: number) => string
}

/** Pairs that a lane asks for before it waits for the first. */
const ASKED = 8

/**
 * Rows through rms_norm into workgroup memory, each by as many teams as there are for one. A lane has its pairs in registers from the sum of squares on; where a
 * row is multiplied in pieces it would have too many, and asks for them again.
 */
export function layerNorm (shape: WholeLayerShape, product: LayerProduct, { norm, ask, words, between = '', keep = () => '' }: NormalisedValues): RowsText & { readonly ask: string } {
  const { hiddenSize, rows, teams, subgroup } = shape
  const held = product.pieces === 1
  const lanes = 32 * teams / rows
  const sums = lanes / subgroup
  const pairs = hiddenSize / 2
  const perLane = Math.ceil(pairs / lanes)
  const perPiece = pairs / product.pieces
  const first = held && norm === 'norm_attention'
  const pair = (p: string, end: string, line: string): string => `{ let p = ${p}; if (${rows === 1 ? '' : 'norm_row < count && '}p < ${end}) { let at = norm_row * ${hiddenSize}u + 2u * p; ${line} } }`
  const own = (i: number): string => `norm_lane + ${i * lanes}u`
  const waitFor = (indices: readonly number[], p: (i: number) => string): string => words === undefined
    ? ''
    : waitForAll(indices.flatMap(i => [`a_${i}`, `b_${i}`]), n => `${words.from}u + norm_row * ${hiddenSize}u + 2u * (${p(indices[n >> 1] ?? 0)}) + ${n & 1}u`, rows === 1 && held && pairs % lanes === 0)
  /** All pairs of a lane that has them in registers, some at a time. */
  const all = (...phases: ReadonlyArray<(i: number) => string>): string => unroll(Math.ceil(perLane / ASKED), g => {
    const indices = Array.from({ length: Math.min(ASKED, perLane - g * ASKED) }, (_, u) => g * ASKED + u)
    return phases.map((phase, n) => `${n > 0 ? waitFor(indices, own) : ''}
    ${indices.map(i => pair(own(i), `${pairs}u`, phase(i))).join('\n')}`).join('\n')
  })
  /** A piece's pairs, in a loop; all that others publish of them is there where the lane waited for it before, and it has the same then. */
  const looped = (areThere: boolean, ask: (i: number) => string, use: (i: number) => string): string => {
    const [from, length] = [`piece * ${perPiece}u`, perPiece]
    const indices = Array.from({ length: ASKED }, (_, u) => u)
    const of = (u: number): string => `turn_from + ${u * lanes}u`
    return `for (var turn_from = ${from} + norm_lane; turn_from < ${from} + ${length}u; turn_from += ${ASKED * lanes}u) {
      ${indices.map(u => `var x_${u} = vec2<f32>(0.0); var a_${u} = 0u; var b_${u} = 0u;`).join('\n')}
      ${indices.map(u => pair(of(u), `${from} + ${length}u`, ask(u))).join('\n')}
      ${areThere ? '' : waitFor(indices, of)}
      ${indices.map(u => pair(of(u), `${from} + ${length}u`, use(u))).join('\n')}
    }`
  }
  const take = (i: number): string => words?.take(i) ?? ''
  const square = (i: number): string => `${take(i)} ${norm}_scale += dot(x_${i}, x_${i}); ${keep(i)}`
  const put = (from: string) => (i: number): string => `let q = p - ${from}; operand[norm_row * ${rowVectors(product)}u + q / 4u][q % 4u] = pack2x16float(clamp(x_${i} * ${norm}_scale * ${norm}[p], vec2<f32>(-F16_MAX), vec2<f32>(F16_MAX)));`
  const again = looped(true, ask, i => `${take(i)} ${put(`piece * ${perPiece}u`)(i)}`)
  return {
    ask: `${first ? unroll(perLane, i => `var x_${i} = vec2<f32>(0.0); var a_${i} = 0u; var b_${i} = 0u;`) : ''}
  let norm_row = thread / ${lanes}u;
  let norm_lane = thread % ${lanes}u;
  ${first ? unroll(perLane, i => `{ let p = ${own(i)}; if (p < ${pairs}u) { let at = norm_row * ${hiddenSize}u + 2u * p; ${ask(i)} } }`) : ''}`,
    first: `var ${norm}_scale = 0.0;
  {
    ${held ? all(...first ? [square] : [ask, square]) : `for (var piece = 0u; piece < ${product.pieces}u; piece++) { ${looped(false, ask, square)} }`}
  }
  ${between}
  {
    let some = subgroupAdd(${norm}_scale);
    if (thread % ${subgroup}u == 0u) { squares_of[thread / ${subgroup}u] = some; }
    workgroupBarrier();
    var all = 0.0;
    for (var n = 0u; n < ${sums}u; n++) { all += squares_of[norm_row * ${sums}u + n]; }
    ${norm}_scale = inverseSqrt(all / ${hiddenSize}.0 + EPS);
    ${held ? all(put('0u')) : `{ let piece = 0u; ${again} }`}
  }
  workgroupBarrier();`,
    next: `workgroupBarrier();
      ${again}
      workgroupBarrier();`
  }
}
