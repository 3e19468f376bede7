import { defineKernel } from '../define-kernel.ts'
import { gemv } from './gemv.ts'
import type { GemvLoop } from './gemv.ts'
import { normedDeclarations, normedOperand } from './gemv-normed.ts'
import { loopName } from './gemv-tiled.ts'
import { rotaryHeader, rotaryOverrides, storeRotated } from './rotary-outputs.ts'

const bindings = { x: 'read', weight: 'read', bias: 'read', step: 'read', norm: 'read', rotation: 'read', q: 'read_write', kv: 'read_write' } as const

/**
 * One token's queries, keys and values from the residual stream to where attention reads them: rms_norm, the projection and rope_kv_write
 * in one dispatch. x `[K]` f32, W as in rotary-outputs.ts. The token's position and slot are asked for before the weights, and its turn
 * before their products.
 * Grid: (heads + 2 · KV heads) · D/16 workgroups. Bytes: N·K halves.
 */
export function gemvRotary (loop: Omit<GemvLoop, 'rows'>) {
  return defineKernel({
    name: `matmul_gemv_rotary_${loopName(loop)}`,
    bindings,
    overrides: [...rotaryOverrides, 'EPS'],
    wgsl: gemv({ ...loop, rows: 1 }, {
      title: 'q, k and v of one token, rotated and written',
      header: `${rotaryHeader('vec4<f32>')}
@group(0) @binding(4) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> rotation: array<vec2<f32>>; // [position][D/2] cos, sin
@group(0) @binding(6) var<storage, read_write> q: array<act>;        // [q head][D]
@group(0) @binding(7) var<storage, read_write> kv: array<elem>;      // [block][k|v][KV head][slot][D]
${normedDeclarations}`,
      x: normedOperand(32 * loop.splits, `let record = token_record(0u);
  let tokens = num_tokens();
  let x_row = 0u;`, `var turned = vec2<f32>(1.0, 0.0);
  if (turns(wg.x)) { turned = rotation[turn_index(wg.x, record.position, thread % 8u)]; }`),
      outputs: {
        from: ['pair_row(wg.x, lane / 2u) + (lane & 1u)'],
        perRow: 8,
        totals: [{ stream: 0, column: 'e' }, { stream: 0, column: 'e + 8u' }],
        store: total => `if (m < tokens) {
      ${storeRotated('wg.x', 'e', total(0), total(1))}
    }`
      }
    })
  })
}
