import { defineKernel } from '../define-kernel.ts'
import { gemv } from './gemv.ts'
import type { GemvLoop, GemvOperand } from './gemv.ts'
import { loopName, ownColumns } from './gemv-tiled.ts'
import type { GemvTiledShape } from './gemv-tiled.ts'
import { matmulBindings, matmulHeader, matmulOverrides } from './matmul-interface.ts'

const bindings = { ...matmulBindings, norm: 'read' } as const
const overrides = [...matmulOverrides, 'EPS'] as const

/**
 * y = (x / rms(x) · norm) Wᵀ for one row of the residual stream, f32: what rms_norm and a projection compute, in one dispatch and
 * with no rounding in between. For logit rows x is the row's hidden row.
 */
export function gemvNormed (shape: Omit<GemvTiledShape, 'rows'>) {
  const { splits, epilogue } = shape
  return defineKernel({
    name: `matmul_gemv_normed_${epilogue}_${loopName(shape)}`,
    bindings,
    overrides,
    wgsl: gemv({ ...shape, rows: 1 }, {
      title: `y = (x / rms(x) · norm) Wᵀ for one row, epilogue ${epilogue}`,
      header: `${matmulHeader(epilogue, 'vec4<f32>', 'vec4<u32>')}
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;
${normedDeclarations}`,
      x: normedOperand(32 * splits, `let tokens = select(num_tokens(), num_logit_rows(), LOGIT_ROWS);
  var x_row = m0;
  if (LOGIT_ROWS) { x_row = logit_record(m0, 0u).x; }`),
      outputs: ownColumns(epilogue)
    })
  })
}

/** Bytes of workgroup memory: x, subgroups' sums of so many streams of column tiles, and what adding up squares takes. */
export function normedBytes ({ splits, k }: Omit<GemvLoop, 'rows'>, streams: number): number {
  return 4 * k + 64 * splits * streams + 1024
}

/** What a kernel with `normedOperand` declares besides its bindings `x` and `norm`. */
export const normedDeclarations = `override EPS: f32;
var<workgroup> weighed: array<vec4<f32>, K / 4u>;`

/**
 * One row of the residual stream, normalised. Every workgroup multiplies it by the norm's weight and sums its squares itself while its weights are on their way; the root is a
 * factor of the finished sums.
 * @param declare declares `x_row`
 */
export function normedOperand (threads: number, declare: string, meanwhile = ''): GemvOperand {
  return {
    declare,
    loads: () => [],
    meanwhile: `var squares = 0.0;
  for (var e = thread; e < K / 4u; e += ${threads}u) {
    let raw = x[x_row * (K / 4u) + e];
    squares += dot(raw, raw);
    weighed[e] = raw * norm[e];
  }
  ${meanwhile}
  let scale = inverseSqrt(workgroup_sum(squares, thread, ${threads}u) / f32(K) + EPS);`,
    prepare: (u, tile) => `let x_${u}_0 = weighed[(${tile}) * 4u + (lane & 1u) * 2u];
    let x_${u}_1 = weighed[(${tile}) * 4u + (lane & 1u) * 2u + 1u];`,
    pair: (u, _, word) => `x_${u}_${'xy'.includes(word) ? 0 : 1}.${'xz'.includes(word) ? 'xy' : 'zw'}`,
    scaled: true
  }
}
