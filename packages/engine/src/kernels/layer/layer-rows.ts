import { unroll } from '../unroll.ts'
import { waitForAll } from './layer-exchange.ts'
import type { ExchangeLayout } from './layer-exchange.ts'
import { layerNorm } from './layer-norm.ts'
import type { RowsText } from './layer-norm.ts'
import { columnGroups, ownTiles, rowVectors } from './layer-shape.ts'
import type { LayerProduct, WholeLayerShape } from './layer-shape.ts'

/** What a layer's four products read. */
export interface LayerRowsText {
  /** `ask` can be done before anything else. */
  readonly inputs: RowsText & { readonly ask: string }
  readonly attended: RowsText
  /** Behind attention's branch; has each workgroup's own part of the residual stream in `own_x`. */
  readonly branch: RowsText
  readonly gated: RowsText
}

/** @param between what is done while a row's squares are added up for the first time */
export function layerRows (shape: WholeLayerShape, { qkv, output, gate_up: gateUp, down }: Readonly<Record<LayerProduct['name'], LayerProduct>>, box: ExchangeLayout, between: string): LayerRowsText {
  const { rows } = shape
  const { across } = down
  const groups = columnGroups(down, shape)
  const isOwn = across === 1 ? `p / 8u % ${groups}u == me` : `p / 8u % ${groups}u == me / ${across}u && p / ${8 * groups}u % ${across}u == me % ${across}u`
  const residual = (i: number): string => `x_${i} = vec2<f32>(x[at], x[at + 1u]);`
  return {
    inputs: layerNorm(shape, qkv, { norm: 'norm_attention', ask: residual, between }),
    attended: gathered(shape, output, box.attended),
    branch: layerNorm(shape, gateUp, {
      norm: 'norm_mlp',
      // One row's pairs are in registers since they were normalised first.
      ask: i => `${rows === 1 ? '' : residual(i)} a_${i} = look(${box.output}u + at); b_${i} = look(${box.output}u + at + 1u);`,
      words: { from: box.output, take: i => `x_${i} += vec2<f32>(bitcast<f32>(a_${i}), bitcast<f32>(b_${i}));` },
      keep: i => `if (${isOwn}) {
      let to = p / ${8 * groups * across}u * ${16 * rows}u + norm_row * 16u + p % 8u * 2u;
      own_x[to] = x_${i}.x;
      own_x[to + 1u] = x_${i}.y;
    }`
    }),
    gated: gathered(shape, down, box.gated)
  }
}

/** Adds up what the workgroups that share the down projection's columns have of a workgroup's own, and writes these. */
export function sharedSums (shape: WholeLayerShape, product: LayerProduct, box: ExchangeLayout): string {
  const { hiddenSize, rows, teams } = shape
  const { across, tiles } = product
  const groups = columnGroups(product, shape)
  const names = Array.from({ length: across }, (_, i) => `part_${i}`)
  return `for (var n = thread; n < ${ownTiles(product) * 16 * rows}u; n += ${32 * teams}u) {
    let tile = me / ${across}u + (n / ${16 * rows}u * ${across}u + me % ${across}u) * ${groups}u;
    let row = n / 16u % ${rows}u;
    if (tile < ${tiles}u && row < count) {
      let at = ${box.down}u + tile * ${across * 16 * rows}u + n % ${16 * rows}u;
      ${unroll(across, i => `var part_${i} = look(at + ${i * 16 * rows}u);`)}
      ${waitForAll(names, i => `at + ${i * 16 * rows}u`, true)}
      x[row * ${hiddenSize}u + tile * 16u + n % 16u] = own_x[n] + ${names.map(name => `bitcast<f32>(${name})`).join(' + ')};
    }
  }`
}

/** Pairs of f16 that workgroups have published. Those of the next piece are looked for before a piece is multiplied. */
function gathered ({ rows, teams }: WholeLayerShape, product: LayerProduct, from: number): RowsText {
  const { name, k, across, pieces } = product
  const threads = 32 * teams
  const words = k / 2 / across / pieces
  const count = Math.ceil(rows * words / threads)
  const isWhole = rows * words % threads === 0
  /** A word of all rows; behind the last lies the last again. */
  const place = (i: number): string => isWhole ? `(thread + ${i * threads}u)` : `min(thread + ${i * threads}u, ${rows * words - 1}u)`
  const row = (i: number): string => rows === 1 ? '0u' : `${place(i)} / ${words}u`
  const inRow = (i: number): string => rows === 1 ? place(i) : `${place(i)} % ${words}u`
  const at = (i: number, piece: string): string => `${from}u + ${row(i)} * ${k / 2}u + ${across === 1 ? '' : `me % ${across}u * ${k / 2 / across}u + `}${piece} * ${words}u + ${inRow(i)}`
  // One row is always there.
  const ofRow = (i: number, line: string): string => rows === 1 ? line : `if (${row(i)} < count) { ${line} }`
  const ask = (piece: string): string => unroll(count, i => `${name}_seen_${i} = 0u; ${ofRow(i, `${name}_seen_${i} = look(${at(i, piece)});`)}`)
  const take = (piece: string): string => `${waitForAll(Array.from({ length: count }, (_, i) => `${name}_seen_${i}`), i => at(i, piece), rows === 1)}
    ${unroll(count, i => `{
      let p = ${inRow(i)};
      if (${isWhole ? 'true' : `thread + ${i * threads}u < ${rows * words}u`}${rows === 1 ? '' : ` && ${row(i)} < count`}) { operand[${row(i)} * ${rowVectors(product)}u + p / 4u][p % 4u] = ${name}_seen_${i}; }
    }`)}`
  return {
    first: `${unroll(count, i => `var ${name}_seen_${i} = 0u;`)}
  ${ask('0u')}
  ${take('0u')}
  ${pieces > 1 ? ask('1u') : ''}
  workgroupBarrier();`,
    next: `workgroupBarrier();
      ${take('piece')}
      if (piece + 1u < ${pieces}u) { ${ask('(piece + 1u)')} }
      workgroupBarrier();`
  }
}
