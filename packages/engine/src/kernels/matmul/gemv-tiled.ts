import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { gemv } from './gemv.ts'
import type { GemvLoop, GemvOutputs } from './gemv.ts'
import { matmulBindings, matmulHeader, matmulOverrides, storeOutput } from './matmul-interface.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

/** Shape of a matrix-vector kernel over a tiled weight: one tile of columns a workgroup, or a gate's and its up tile. */
export interface GemvTiledShape extends GemvLoop {
  readonly epilogue: Epilogue
}

/** What tells the names of kernels apart. */
export function loopName ({ splits, ahead, k }: Omit<GemvLoop, 'rows'>): string {
  return `s${splits}_a${ahead}_k${k}`
}

/**
 * y = x Wᵀ for one to four rows: x `[M][K]` f16, W tiled f16, f32 accumulation.
 *
 * Bytes: N·K halves. Operations 2·M·N·K, by ordinary instructions: from about five rows on tensor cores are faster.
 */
export function gemvTiled (shape: GemvTiledShape) {
  const { rows, epilogue } = shape
  return defineKernel({
    name: `matmul_gemv_tiled_${epilogue}_r${rows}_${loopName(shape)}`,
    bindings: matmulBindings,
    overrides: matmulOverrides,
    wgsl: gemv(shape, {
      title: `y = x Wᵀ for ${rows} row(s), epilogue ${epilogue}`,
      header: matmulHeader(epilogue, 'vec4<u32>', 'vec4<u32>'),
      x: {
        declare: `let tokens = select(num_tokens(), num_logit_rows(), LOGIT_ROWS);
  ${unroll(rows, r => `let x_from_${r} = (m0 + ${r}u) * (K / 8u) + (lane & 1u);`)}`,
        loads: (u, tile) => Array.from({ length: rows }, (_, r) => [`x_${r}_${u}`, 'vec4<u32>', `x[x_from_${r} + (${tile}) * 2u]`] as const),
        prepare: () => '',
        pair: (u, r, word) => `unpack2x16float(x_${r}_${u}.${word})`
      },
      outputs: ownColumns(epilogue)
    })
  })
}

/** A tile of columns, or a gate's and its up tile, as the epilogue stores them; expects `tokens`. */
export function ownColumns (epilogue: Epilogue): GemvOutputs {
  const streams = isGated(epilogue) ? [0, 1] : [0]
  return {
    from: streams.map(s => `(wg.x${s === 1 ? ' + OWN_COLUMNS / 16u' : ''}) * k_tiles * 32u + lane`),
    perRow: 16,
    totals: streams.map(stream => ({ stream, column: 'e' })),
    store: total => `let own = wg.x * 16u + e;
    if (m < tokens && own < OWN_COLUMNS) { ${storeOutput(epilogue, 'm', 'FIRST_COLUMN + own', total)} }`
  }
}
