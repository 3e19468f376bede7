import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { gemv } from './gemv.ts'
import type { GemvLoop, GemvOutputs } from './gemv.ts'
import { matmulBindings, matmulHeader, matmulOverrides, storeOutput } from './matmul-interface.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

/** Shape of a matrix-vector kernel over a tiled weight: tiles of columns, or gates' and their up tiles. */
export interface GemvTiledShape extends GemvLoop {
  readonly epilogue: Epilogue
}

/** What tells the names of kernels apart. */
export function loopName ({ splits, ahead, tiles = 1, k }: Omit<GemvLoop, 'rows'>): string {
  return `s${splits}_a${ahead}${tiles > 1 ? `_t${tiles}` : ''}_k${k}`
}

/** Output columns of a workgroup. */
export function gemvColumns ({ tiles = 1 }: Pick<GemvLoop, 'tiles'>): number {
  return 16 * tiles
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
      outputs: ownColumns(shape)
    })
  })
}

/** Tiles of columns, or gates' and their up tiles, as the epilogue stores them; expects `tokens`. */
export function ownColumns ({ epilogue, tiles = 1 }: Pick<GemvTiledShape, 'epilogue' | 'tiles'>): GemvOutputs {
  const halves = isGated(epilogue) ? 2 : 1
  const last = (tile: string): string => tiles > 1 ? `min(${tile}, OWN_COLUMNS / 16u - 1u)` : tile
  return {
    from: Array.from({ length: tiles * halves }, (_, s) => `(${last(`wg.x * ${tiles}u + ${Math.floor(s / halves)}u`)}${s % halves === 1 ? ' + OWN_COLUMNS / 16u' : ''}) * k_tiles * 32u + lane`),
    perRow: 16 * tiles,
    totals: Array.from({ length: halves }, (_, half) => ({ stream: tiles > 1 ? `e / 16u * ${halves}u + ${half}u` : `${half}u`, column: 'e % 16u' })),
    store: total => `let own = wg.x * ${16 * tiles}u + e;
    if (m < tokens && own < OWN_COLUMNS) { ${storeOutput(epilogue, 'm', 'FIRST_COLUMN + own', total)} }`
  }
}
