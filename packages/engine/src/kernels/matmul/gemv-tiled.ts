import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { matmulBindings, matmulHeader, matmulOverrides, storeOutput } from './matmul-interface.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

/** Shape of a matrix-vector kernel over a tiled weight. */
export interface GemvTiledShape {
  /** Rows of x a workgroup serves: each weight that is loaded is multiplied so often. */
  readonly rows: number
  /** Parts K is cut into, one subgroup each. */
  readonly splits: number
  /** K tiles a subgroup loads before it multiplies the first: bytes in flight. */
  readonly ahead: number
  /** Lanes of a subgroup; 32, so that one load of 16 bytes a lane is one tile. */
  readonly subgroup: 32
  readonly epilogue: Epilogue
}

export const gemvNormedBindings = { ...matmulBindings, norm: 'read' } as const
export const gemvNormedOverrides = [...matmulOverrides, 'EPS'] as const

/**
 * y = x Wᵀ for one to four rows: x `[M][K]` f16, W tiled f16, f32 accumulation. A lane owns half a row of a tile: eight halves, one
 * load. A subgroup streams its part of K of one column tile, contiguous in memory; lanes' and then subgroups' sums are added.
 *
 * Bytes: N·K halves. Operations 2·M·N·K, by ordinary instructions: from about five rows on tensor cores are faster.
 */
export function gemvTiled (shape: GemvTiledShape) {
  const { rows, splits, ahead, epilogue } = shape
  return defineKernel({
    name: `matmul_gemv_tiled_${epilogue}_r${rows}_s${splits}_a${ahead}`,
    bindings: matmulBindings,
    overrides: matmulOverrides,
    wgsl: gemv(shape, matmulHeader(epilogue, 'vec4<u32>', 'vec4<u32>'), {
      declare: unroll(rows, r => `let x_from_${r} = (m0 + ${r}u) * (K / 8u) + (lane & 1u);`),
      load: u => unroll(rows, r => `let x_${r}_${u} = x[x_from_${r} + (k + ${u}u) * 2u];`),
      pair: (u, r, word) => `unpack2x16float(x_${r}_${u}.${word})`,
      finish: '',
      scale: ''
    })
  })
}

/**
 * y = (x / rms(x) · norm) Wᵀ for one row of the residual stream, f32: what rms_norm and a projection compute, in one dispatch and
 * with no rounding in between. Every workgroup sums the squares itself: they come with the x it reads, and the root is a factor of
 * the finished sums. For logit rows x is the row's hidden row.
 */
export function gemvNormed (shape: Omit<GemvTiledShape, 'rows'>) {
  const { splits, ahead, epilogue } = shape
  return defineKernel({
    name: `matmul_gemv_normed_${epilogue}_s${splits}_a${ahead}`,
    bindings: gemvNormedBindings,
    overrides: gemvNormedOverrides,
    wgsl: gemv({ ...shape, rows: 1 }, `${matmulHeader(epilogue, 'vec4<f32>', 'vec4<u32>')}
override EPS: f32;
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;
var<workgroup> part_squares: array<f32, ${splits}>;`, {
      declare: `var x_row = m0;
  if (LOGIT_ROWS) { x_row = logit_record(m0, 0u).x; }
  let half_row = (lane & 1u) * 2u;
  let x_from = x_row * (K / 4u) + half_row;
  var squares = 0.0;`,
      load: u => unroll(2, n => `let raw_${u}_${n} = x[x_from + (k + ${u}u) * 4u + ${n}u];
      let scaled_${u}_${n} = raw_${u}_${n} * norm[half_row + (k + ${u}u) * 4u + ${n}u];
      squares += dot(raw_${u}_${n}, raw_${u}_${n});`),
      pair: (u, _, word) => `scaled_${u}_${'xy'.includes(word) ? 0 : 1}.${'xz'.includes(word) ? 'xy' : 'zw'}`,
      finish: `let both_halves = squares + subgroupShuffleXor(squares, 1u);
  if (lane == 0u) { part_squares[split] = both_halves; }`,
      scale: `var sum_squares = 0.0;
    for (var p = 0u; p < SPLITS; p++) { sum_squares += part_squares[p]; }
    let scale = inverseSqrt(sum_squares / f32(K) + EPS);`
    })
  })
}

/** How a kernel comes by x: what to declare, how to load K tile u ahead, two neighbouring values of it, and what follows the sums. */
interface Operand {
  readonly declare: string
  readonly load: (u: number) => string
  readonly pair: (u: number, row: number, word: string) => string
  readonly finish: string
  /** Declares `scale`, a factor of all sums; empty: none. */
  readonly scale: string
}

function gemv ({ rows, splits, ahead, subgroup, epilogue }: GemvTiledShape, header: string, x: Operand): string {
  const streams = isGated(epilogue) ? 2 : 1
  const threads = splits * subgroup
  const each = (line: (s: number, r: number) => string): string => unroll(streams, s => unroll(rows, r => line(s, r)))
  const multiply = (u: number): string => ['x', 'y', 'z', 'w'].map(word => `
      ${unroll(streams, s => `let w_${s}_${u}_${word} = unpack2x16float(w_${s}_${u}.${word});`)}
      ${unroll(rows, r => `let x_${r}_${u}_${word} = ${x.pair(u, r, word)};`)}
      ${each((s, r) => `even_${s}_${r} = fma(w_${s}_${u}_${word}.x, x_${r}_${u}_${word}.x, even_${s}_${r}); odd_${s}_${r} = fma(w_${s}_${u}_${word}.y, x_${r}_${u}_${word}.y, odd_${s}_${r});`)}`).join('\n')
  const turn = (count: number): string => `
      ${unroll(count, u => unroll(streams, s => `let w_${s}_${u} = weight[from_${s} + (k + ${u}u) * 32u];`))}
      ${unroll(count, x.load)}
      ${unroll(count, multiply)}`
  return `
// y = x Wᵀ for ${rows} row(s), ${splits} subgroup(s) each a part of K, epilogue ${epilogue}; generated by gemv-tiled.ts
${header}
const SPLITS = ${splits}u;
var<workgroup> parts: array<f32, ${splits * streams * rows * 16}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tokens = select(num_tokens(), num_logit_rows(), LOGIT_ROWS);
  let m0 = wg.y * ${rows}u;
  let lane = thread % ${subgroup}u;
  let split = thread / ${subgroup}u;
  let own_tiles = OWN_COLUMNS / 16u;
  let k_tiles = K / 16u;
  let range = (k_tiles + SPLITS - 1u) / SPLITS;
  let from_k = split * range;
  let to_k = min(from_k + range, k_tiles);
  ${unroll(streams, s => `let from_${s} = (wg.x${s === 1 ? ' + own_tiles' : ''}) * k_tiles * 32u + lane;`)}
  ${x.declare}
  ${each((s, r) => `var even_${s}_${r} = 0.0; var odd_${s}_${r} = 0.0;`)}
  var k = from_k;
  for (; k + ${ahead}u <= to_k; k += ${ahead}u) {
    ${turn(ahead)}
  }
  for (; k < to_k; k++) {
    ${turn(1)}
  }
  ${each((s, r) => `{
    let half = even_${s}_${r} + odd_${s}_${r};
    let sum = half + subgroupShuffleXor(half, 1u);
    if ((lane & 1u) == 0u) { parts[(${s * rows + r}u * SPLITS + split) * 16u + lane / 2u] = sum; }
  }`)}
  ${x.finish}
  workgroupBarrier();
  for (var e = thread; e < ${rows * 16}u; e += ${threads}u) {
    let r = e / 16u;
    let own = wg.x * 16u + e % 16u;
    let m = m0 + r;
    ${unroll(streams, s => `var total_${s} = 0.0;
    for (var p = 0u; p < SPLITS; p++) { total_${s} += parts[((${s * rows}u + r) * SPLITS + p) * 16u + e % 16u]; }`)}
    ${x.scale}
    if (m < tokens && own < OWN_COLUMNS) { ${storeOutput(epilogue, 'm', 'FIRST_COLUMN + own', s => x.scale === '' ? `total_${s}` : `total_${s} * scale`)} }
  }
}
`
}
