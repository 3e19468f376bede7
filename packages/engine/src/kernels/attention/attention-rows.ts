import { unroll } from '../unroll.ts'
import { storedScore, vectorBound } from './attention-order.ts'
import type { AttentionShape } from './attention-order.ts'

export interface AttentionTileShape extends AttentionShape {
  /** Query tokens a workgroup attends. */
  readonly queries: number
  /** Keys staged in workgroup memory at a time: 16, 32, 64 or 128. */
  readonly staged: number
}

/** Most keys that one row of threads scores side by side. */
const MOST_KEY_LANES = 64

/** The text by which a workgroup's threads attend several rows over one split, and how rows are dealt out to them. */
export interface AttentionRows {
  readonly rows: number
  /** Rows whose values a team of D/4 threads sums. */
  readonly own: number
  readonly teams: number
  /** The first of them. */
  readonly inRows: string
  /** `staged_keys`, beside attentionPrelude's. */
  readonly declarations: string
  /** `lane`, `team` and the like; names `row_i` for a team's own rows. */
  readonly places: string
  /** Scores of `keys` keys from `start` on for all rows, after find_blocks. Barriers inside. */
  readonly scores: string
  /** Declares o_i and l_i, the weighted values and weights of a team's own rows, after softmax_in_place; for threads of a team. */
  readonly sums: string
}

/**
 * Keys are staged through workgroup memory, rows padded by one vector so that neighbouring keys lie in different banks; a thread
 * scores one or two keys for eight rows at a time. Teams of D/4 threads sum values for their rows, four keys a load of p.
 * Summation order: attention-order.ts.
 */
export function attentionRows (shape: AttentionTileShape): AttentionRows {
  const { headDim, group, threads, queries, staged } = shape
  const rows = queries * group
  const vectors = headDim / 4
  const keyLanes = Math.min(MOST_KEY_LANES, staged)
  const rowGroups = Math.max(1, Math.floor(threads / keyLanes))
  const rowsInGroup = Math.ceil(rows / rowGroups)
  const keysEach = staged / keyLanes
  const teams = Math.floor(threads / vectors)
  const own = Math.ceil(rows / teams)
  const chunks = Array.from({ length: Math.ceil(rowsInGroup / 8) }, (_, c) => ({ first: 8 * c, count: Math.min(8, rowsInGroup - 8 * c) }))
  const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
  const axes = ['x', 'y', 'z', 'w']
  const inRows = `team * ${own}u`

  const scoreChunk = ({ first, count }: { first: number, count: number }): string => `
        { // rows ${first} to ${first + count - 1} of this thread's group
          ${upTo(keysEach).map(k => upTo(count).map(r => `var s_${k}_${r} = 0.0;`).join(' ')).join('\n          ')}
          ${upTo(count).map(r => `let from_${r} = min(row_group * ${rowsInGroup}u + ${first + r}u, ROWS - 1u) * VECTORS;`).join('\n          ')}
          for (var d = 0u; d < ${vectorBound(shape)}; d++) {
            ${upTo(keysEach).map(k => `let key_${k} = vec4<f32>(staged_keys[(key_lane + ${k * keyLanes}u) * (VECTORS + 1u) + d]);`).join('\n            ')}
            ${upTo(count).map(r => `let q_${r} = queries[from_${r} + d];`).join('\n            ')}
            ${axes.map(a => upTo(keysEach).map(k => upTo(count).map(r => `s_${k}_${r} = fma(key_${k}.${a}, q_${r}.${a}, s_${k}_${r});`).join(' ')).join('\n            ')).join('\n            ')}
          }
          ${upTo(keysEach).map(k => `{
            let j = chunk + key_lane + ${k * keyLanes}u;
            if (j < keys) {
              ${upTo(count).map(r => `if (row_group * ${rowsInGroup}u + ${first + r}u < ROWS && ${first + r}u < ${rowsInGroup}u) { scores[from_${r} / VECTORS * SPLIT + j] = ${storedScore(shape, `s_${k}_${r}`)}; }`).join('\n              ')}
            }
          }`).join('\n          ')}
        }`

  return {
    rows,
    own,
    teams,
    inRows,
    declarations: `var<workgroup> staged_keys: array<elem4, ${staged * (vectors + 1)}>;`,
    places: `let key_lane = thread % ${keyLanes}u;
  let row_group = thread / ${keyLanes}u;
  let lane = thread % VECTORS;
  let team = thread / VECTORS;
  ${unroll(own, i => `let row_${i} = min(${inRows} + ${i}u, ROWS - 1u);`)}`,
    scores: `for (var chunk = 0u; chunk < keys; chunk += ${staged}u) {
      workgroupBarrier();
      for (var i = thread; i < ${staged}u * VECTORS; i += THREADS) {
        let j = chunk + i / VECTORS;
        if (j < keys) { staged_keys[i / VECTORS * (VECTORS + 1u) + i % VECTORS] = kv[key_vector(start, j) + i % VECTORS]; }
      }
      workgroupBarrier();
      ${rowGroups * keyLanes < threads ? `if (row_group < ${rowGroups}u) {` : '{'}
        ${chunks.map(scoreChunk).join('\n')}
      }
    }`,
    sums: `${unroll(own, i => `var o_${i} = vec4<f32>(0.0); var l_${i} = 0.0;`)}
      for (var from_j = 0u; from_j < keys; from_j += RUN) {
        let to_j = min(from_j + RUN, keys);
        ${unroll(own, i => `var o_run_${i} = vec4<f32>(0.0); var l_run_${i} = 0.0;`)}
        var j = from_j;
        for (; j + 4u <= to_j; j += 4u) {
          ${unroll(4, k => `let v_${k} = vec4<f32>(kv[key_vector(start, j + ${k}u) + value_offset() + lane]);`)}
          ${unroll(own, i => `{ let at = row_${i} * SPLIT + j;
            ${axes.map((_, k) => `let p_${k} = scores[at + ${k}u]; l_run_${i} += p_${k}; o_run_${i} = fma(vec4<f32>(p_${k}), v_${k}, o_run_${i});`).join(' ')} }`)}
        }
        for (; j < to_j; j++) {
          let v = vec4<f32>(kv[key_vector(start, j) + value_offset() + lane]);
          ${unroll(own, i => `{ let p = scores[row_${i} * SPLIT + j]; l_run_${i} += p; o_run_${i} = fma(vec4<f32>(p), v, o_run_${i}); }`)}
        }
        ${unroll(own, i => `o_${i} += o_run_${i}; l_${i} += l_run_${i};`)}
      }`
  }
}
