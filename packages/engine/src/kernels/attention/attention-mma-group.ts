import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { attentionOverrides } from './attention-order.ts'
import { attentionMmaPrelude, attentionMmaRun } from './attention-mma.ts'
import { groupScorePitch, weighGroupRows } from './attention-mma-group-rows.ts'
import { accumulatorRows, weightPitch } from './attention-mma-rows.ts'

export interface AttentionMmaGroupShape {
  readonly headDim: number
  /** Query heads per KV head, at most 16. */
  readonly group: number
  /** Subgroups of a workgroup, at most four: each attends the same keys for 16 rows of its own, pairs of a member and a query head. */
  readonly subgroups: number
  /** Keys staged at a time, 32 or 64. */
  readonly keys: number
  readonly capped: boolean
  readonly subgroup: 32
}

/** Query tokens that a workgroup takes: those whose heads all find rows. */
export function attentionMmaGroupMembers ({ group, subgroups }: Pick<AttentionMmaGroupShape, 'group' | 'subgroups'>): number {
  return Math.floor(16 * subgroups / group)
}

/** Bytes of workgroup memory a group kernel takes. */
export function attentionMmaGroupBytes ({ headDim, subgroups, keys }: AttentionMmaGroupShape): number {
  return 2 * keys * (headDim + 8) * 2 + subgroups * 16 * ((keys + 4) * 4 + (keys + 8) * 2) + 4
}

/** Vectors of eight key elements, and as many of values, that a thread stages at a time. */
export function attentionMmaGroupLoads ({ headDim, subgroups, subgroup, keys }: AttentionMmaGroupShape): number {
  return Math.ceil(keys * headDim / 8 / (subgroups * subgroup))
}

/** Registers of a thread that hold queries, outputs and what is loaded ahead, at most: some sixty more are needed beside them. */
const MOST_HELD = 192

/**
 * Attention of single query tokens over keys that lie in the same blocks for all of them, on tensor cores, one workgroup per (group
 * record, KV head): partial results (o, m, l) for attention_merge, beside those of each token's own keys (attention-vector.ts).
 *
 * q `[token][query head][D]` f16, scaled: members lie anywhere, so their queries are gathered through workgroup memory. Rows are pairs of
 * a member and a query head, one behind the other, so that a tile has no gaps whatever the group. Prefixes are whole runs of 32 keys: of 64 staged ones
 * the last 32 may be none, and then the last key is read again and its weight is zero. Rows past the last member repeat it and are not stored; subgroups
 * without a member multiply nothing.
 *
 * **Stages.** Keys of the next stage and values of this one are put down in the same place, between scores and weights, and three barriers order
 * everything. The first stands between scores and whoever reads them, between products with keys and the keys that replace them, and between products with
 * values and theirs. The second: between weights, keys, values, `exceeded` and whoever reads them. The third: between reading `exceeded` and setting it again;
 * workgroupUniformLoad has both. What comes next is loaded into registers meanwhile, and its block table's entry a stage earlier still, so that neither is
 * waited for; heads so large that registers would not suffice are staged straight from storage.
 *
 * **Softmax** is attention-mma.ts's. Bytes: 4·D a key and KV head for all members, and 4·(D + 2) written a row; operations 4·D a
 * row and key.
 * @see BatchLLM (arXiv 2412.03594), prefix-shared attention
 */
export function attentionMmaGroup (shape: AttentionMmaGroupShape) {
  const { headDim, group, subgroups, keys, capped, subgroup } = shape
  const threads = subgroups * subgroup
  const vectors = headDim / 8
  const pitch = vectors + 1
  const scorePitch = groupScorePitch(keys)
  const rows = accumulatorRows({ headDim, keys, pitch: scorePitch })
  const keyTiles = keys / 16
  const depthTiles = headDim / 16
  const loads = attentionMmaGroupLoads(shape)
  const ahead = 12 * depthTiles + 8 * loads <= MOST_HELD
  const pieces = (line: (n: number) => string): string => unroll(loads, n =>
    `{ let e = thread + ${n * threads}u; ${(n + 1) * threads > keys * vectors ? `if (e < ${keys * vectors}u) { ${line(n)} }` : line(n)} }`)
  const place = (start: string): string => `key_vector(table, min(${start} + e / ${vectors}u, part.end - 1u), head) + e % ${vectors}u`
  const staged = `e / ${vectors}u * ${pitch}u + e % ${vectors}u`
  // Queries wait where values will, if there is room, and else where keys will, too.
  const aside = 16 * subgroups <= keys
  const queriesAt = aside ? keys * pitch : 0
  const firstKeys = ahead ? pieces(n => `tiles[${staged}] = next_k_${n};`) : pieces(() => `tiles[${staged}] = kv[${place('begin')}];`)
  const stage = ahead
    ? `${pieces(n => `
      tiles[${staged}] = next_k_${n};
      tiles[${keys * pitch}u + ${staged}] = next_v_${n};`)}
    if (start + KEYS < part.end) {
      ${pieces(n => `
      next_v_${n} = kv[after_${n} + value_offset()];
      next_k_${n} = kv[further_${n}];
      after_${n} = further_${n};
      further_${n} = ${place('start + 3u * KEYS')};`)}
    }`
    : pieces(() => `
      tiles[${staged}] = kv[${place('start + KEYS')}];
      tiles[${keys * pitch}u + ${staged}] = kv[${place('start')} + value_offset()];`)
  return defineKernel({
    name: `attention_mma_group_d${headDim}_g${group}_n${subgroups}_k${keys}${capped ? '_capped' : ''}`,
    bindings: { q: 'read', kv: 'read', step: 'read', partial_out: 'read_write', partial_max_sum: 'read_write' },
    overrides: attentionOverrides,
    wgsl: `
// o, m, l of up to ${attentionMmaGroupMembers(shape)} query tokens over keys that they share, on tensor cores; generated by attention-mma-group.ts
${attentionMmaPrelude(headDim)}
@group(0) @binding(0) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> kv: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> partial_out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> partial_max_sum: array<vec2<f32>>;
const GROUP = ${group}u;
const KEYS = ${keys}u;
// Keys, then values; before them queries, row by row. A vector type, since matrices of halves are loaded from addresses that are multiples of 16.
var<workgroup> tiles: array<vec4<u32>, ${2 * keys * pitch}>;
var<workgroup> scores: array<vec4<f32>, ${subgroups * 16 * scorePitch}>;
var<workgroup> weights: array<vec4<u32>, ${subgroups * 16 * weightPitch(keys)}>;
var<workgroup> exceeded: atomic<u32>;

// Whether a subgroup has members is the same for all of it.
@compute @workgroup_size(${threads})
@diagnostic(off, subgroup_uniformity)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (wg.x >= num_groups()) { return; }
  let head = wg.y;
  let part = group_record(wg.x);
  var begin = part.start;
  if (WINDOW > 0u) {
    var hidden = part.end;
    for (var n = 0u; n < part.count; n++) { hidden = min(hidden, window_start(single_record(part.first_single + n).context - 1u)); }
    if (hidden >= part.end) { return; }
    begin = max(begin, hidden / ${attentionMmaRun}u * ${attentionMmaRun}u);
  }
  let table = single_record(part.first_single).table;
  let sg = thread / ${subgroup}u;
  let lane = thread % ${subgroup}u;
  let row = lane / 2u;
  let half = lane % 2u;
  // The row's member, the last one for rows past it.
  let pair = sg * 16u + row;
  let record = single_record(part.first_single + min(pair / GROUP, part.count - 1u));
  let hidden = window_start(record.context - 1u);
  let busy = sg * 16u < part.count * GROUP;
  let my_scores = sg * ${16 * scorePitch}u;
  let my_weights = sg * ${16 * weightPitch(keys)}u;
  var reference = UNSET;
  var sum = 0.0;
  ${ahead
? `${unroll(loads, n => `var next_k_${n}: vec4<u32>; var next_v_${n}: vec4<u32>; var after_${n}: u32; var further_${n}: u32;`)}
  ${pieces(n => `
      let place = ${place('begin')};
      next_k_${n} = kv[place];
      next_v_${n} = kv[place + value_offset()];`)}`
: ''}
  let q_at = ((record.token_row * NUM_KV_HEADS + head) * GROUP + pair % GROUP) * HALVES + half;
  ${unroll(depthTiles, d => `let query_${d} = q[q_at + ${2 * d}u];`)}
  ${ahead
? pieces(n => `
      after_${n} = ${place('begin + KEYS')};
      further_${n} = ${place('begin + 2u * KEYS')};`)
: ''}
  ${unroll(depthTiles, d => `tiles[${queriesAt}u + pair * ${pitch}u + ${2 * d}u + half] = query_${d};`)}
  ${aside ? firstKeys : ''}
  if (thread == 0u) { atomicStore(&exceeded, 0u); }
  workgroupBarrier();
  ${unroll(depthTiles, d => `let q_${d} = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tiles, ${queriesAt}u + sg * ${16 * pitch}u + ${2 * d}u, ${pitch}u);
  var out_${d}: subgroup_matrix_result<f32, 16, 16>;`)}
  ${aside
? ''
: `workgroupBarrier();
  ${firstKeys}
  workgroupBarrier();`}
  ${ahead ? pieces(n => `next_k_${n} = kv[after_${n}];`) : ''}
  for (var start = begin; start < part.end; start += KEYS) {
    if (busy) {
      ${unroll(keyTiles, j => `var s_${j}: subgroup_matrix_result<f32, 16, 16> = subgroup_matrix_result<f32, 16, 16>(0.0);`)}
      ${unroll(depthTiles, d => unroll(keyTiles, j => `s_${j} = subgroupMatrixMultiplyAccumulate(q_${d}, subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, ${16 * j * pitch + 2 * d}u, ${pitch}u), s_${j});`))}
      ${unroll(keyTiles, j => `subgroupMatrixStore<row_major>(&scores, my_scores + ${4 * j}u, s_${j}, ${scorePitch}u);`)}
    }
    workgroupBarrier();
    // Past the end the last key is read again.
    ${stage}
    var keep = 1.0;
    if (busy) {
      let visible = min(part.end - start, KEYS);
      let unseen = max(hidden, start) - start;
      ${weighGroupRows({ keys, capped }, weightPitch(keys), 'start + 1u', 'start > begin')}
    }
    if (workgroupUniformLoad(&exceeded) == start + 1u) {
      ${rows.scale()}
      workgroupBarrier();
    }
    if (busy) {
      ${unroll(keyTiles, j => `{
        let w = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&weights, my_weights + ${2 * j}u, ${weightPitch(keys)}u);
        ${unroll(depthTiles, d => `out_${d} = subgroupMatrixMultiplyAccumulate(w, subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&tiles, ${keys * pitch + 16 * j * pitch + 2 * d}u, ${pitch}u), out_${d});`)}
      }`)}
    }
  }
  let total = sum + subgroupShuffleXor(sum, 1u);
  let stored = pair < part.count * GROUP;
  let to = ((record.partial + part.start / group_keys()) * NUM_KV_HEADS + head) * GROUP + pair % GROUP;
  ${rows.readOut('stored', (tile, value) => unroll(2, n => `partial_out[to * ${headDim / 4}u + ${4 * tile + n}u + half * 2u] = ${value(n)};`))}
  if (stored && half == 0u) { partial_max_sum[to] = vec2<f32>(reference, total); }
}
`
  })
}
