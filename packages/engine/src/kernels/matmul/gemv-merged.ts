import { defineKernel } from '../define-kernel.ts'
import { gemv } from './gemv.ts'
import type { GemvLoop } from './gemv.ts'
import { loopName, ownColumns } from './gemv-tiled.ts'
import type { GemvTiledShape } from './gemv-tiled.ts'
import { matmulBindings, matmulHeader, matmulOverrides } from './matmul-interface.ts'

const bindings = { ...matmulBindings, max_sums: 'read' } as const
const overrides = [...matmulOverrides, 'HEAD_DIM', 'WINDOW'] as const

/** Parts that are merged at most: each workgroup reads them all, and from more on a dispatch that reads them once is faster. */
export const mostMergedParts = 8

/**
 * attention_merge and the output projection of one token in one dispatch: every workgroup merges all parts itself, into workgroup memory, while
 * its weights are on their way.
 *
 * x `[part][query head][D]` f32, unnormalised, max_sums `[part][query head]`, as attention leaves them: the token shares its keys with no
 * other and has at least two parts. W tiled f16, K = query heads · D. Sums are rounded to f16 before they are multiplied, as
 * where attention_merge writes them.
 */
export function gemvMerged (shape: Omit<GemvTiledShape, 'rows'>) {
  const { splits, epilogue } = shape
  const threads = 32 * splits
  return defineKernel({
    name: `matmul_gemv_merged_${epilogue}_${loopName(shape)}`,
    bindings,
    overrides,
    wgsl: gemv({ ...shape, rows: 1 }, {
      title: `y = merged parts of attention · Wᵀ for one row, epilogue ${epilogue}`,
      header: `${matmulHeader(epilogue, 'vec4<f32>', 'vec4<u32>')}
override HEAD_DIM: u32;
override WINDOW: u32;
@group(0) @binding(5) var<storage, read> max_sums: array<vec2<f32>>;
const LOWEST = -3.4028234e38;
var<workgroup> merged: array<vec2<u32>, K / 4u>;`,
      x: {
        declare: `let tokens = num_tokens();
  let record = single_record(0u);
  let keys = split_keys();`,
        loads: () => [],
        meanwhile: `{
    let parts = (record.context + keys - 1u) / keys;
    // Parts wholly before the window were not computed.
    let first = select(0u, max(record.context, WINDOW) - WINDOW, WINDOW > 0u) / keys;
    for (var e = thread; e < K / 4u; e += ${threads}u) {
      let head = e / (HEAD_DIM / 4u);
      var top = LOWEST;
      var out = vec4<f32>(0.0);
      var sum = 0.0;
      for (var s = first; s < parts; s += 4u) {
        let turn = vec4<u32>(s, s + 1u, s + 2u, s + 3u);
        // Past the end the last part is read again, and has no share.
        let at = record.partial + min(turn, vec4<u32>(parts - 1u));
        ${[0, 1, 2, 3].map(n => `let max_sum_${n} = max_sums[at.${'xyzw'[n]} * (K / HEAD_DIM) + head];`).join('\n')}
        ${[0, 1, 2, 3].map(n => `let out_${n} = x[at.${'xyzw'[n]} * (K / 4u) + e];`).join('\n')}
        let m = select(vec4<f32>(LOWEST), vec4<f32>(max_sum_0.x, max_sum_1.x, max_sum_2.x, max_sum_3.x), turn < vec4<u32>(parts));
        let raised = max(max(top, max(m.x, m.y)), max(m.z, m.w));
        let keep = exp(top - raised);
        let share = exp(m - raised);
        out = out * keep + out_0 * share.x + out_1 * share.y + out_2 * share.z + out_3 * share.w;
        sum = sum * keep + dot(vec4<f32>(max_sum_0.y, max_sum_1.y, max_sum_2.y, max_sum_3.y), share);
        top = raised;
      }
      let value = out / sum;
      merged[e] = vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));
    }
  }
  workgroupBarrier();`,
        prepare: (u, tile) => `let x_${u}_0 = merged[(${tile}) * 4u + (lane & 1u) * 2u];
    let x_${u}_1 = merged[(${tile}) * 4u + (lane & 1u) * 2u + 1u];`,
        pair: (u, _, word) => `unpack2x16float(x_${u}_${'xy'.includes(word) ? 0 : 1}.${'xz'.includes(word) ? 'x' : 'y'})`
      },
      outputs: ownColumns(epilogue)
    })
  })
}

/** Bytes of workgroup memory: what was merged, and subgroups' sums. */
export function mergedBytes ({ splits, k }: Omit<GemvLoop, 'rows'>): number {
  return 2 * k + 64 * splits
}
