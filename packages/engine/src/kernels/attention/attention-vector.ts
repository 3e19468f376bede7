import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { attentionOverrides } from './attention-order.ts'
import { attentionMmaPrelude } from './attention-mma.ts'

export interface AttentionVectorShape {
  /** A multiple of 8, at most 256. */
  readonly headDim: number
  /** Query heads per KV head. */
  readonly group: number
  /** Subgroups of a workgroup; each takes every so-manieth run of keys of the split. */
  readonly subgroups: number
  /** Loads of keys under way in a subgroup, and as many of values; default: as many as registers have room for. */
  readonly loads?: number
  readonly capped: boolean
  readonly subgroup: 32
}

/** Bytes of workgroup memory a kernel takes. */
export function attentionVectorBytes ({ headDim, group, subgroups }: AttentionVectorShape): number {
  return subgroups * group * (4 * headDim + 8)
}

/** Keys that a subgroup attends at a time, at most `attentionMmaRun`. */
export function attentionVectorRun (shape: Pick<AttentionVectorShape, 'headDim' | 'group' | 'loads'>): number {
  return geometry(shape).run
}

/**
 * Lanes that share a key, a power of two of neighbours; keys that a subgroup loads at once; loads under way for keys and as many for values,
 * fewer where many heads' sums need the registers; keys of a run, what a subgroup attends at a time.
 */
function geometry ({ headDim, group, loads: wanted = 8 }: Pick<AttentionVectorShape, 'headDim' | 'group' | 'loads'>): { lanes: number, keysAtOnce: number, loads: number, run: number } {
  const lanes = 2 ** Math.ceil(Math.log2(headDim / 8))
  const keysAtOnce = 32 / lanes
  const loads = Math.min(group > 4 ? 4 : wanted, lanes)
  return { lanes, keysAtOnce, loads, run: loads * keysAtOnce }
}

/**
 * Attention of single query tokens over their own keys by ordinary instructions, one workgroup per (split of these keys, KV head, token).
 *
 * q `[token][query head][D]` f16, scaled · kv `[block][k|v][kvHead][slot][D]` f16, blocks of a multiple of 16 slots. D/8 neighbouring
 * lanes share a key: a load of 16 bytes a lane is several whole keys in order of memory, and up to sixteen loads are under way before
 * the first is used. A key's products are added by exchanging halves, after which a lane has the scores of one load's keys: little
 * more than one shuffle a score. Weights come back by shuffles, too. Nothing passes through workgroup memory and no barrier is met
 * before the end, so a workgroup's subgroups run on their own, and a row needs no second split, and no merge, to have several.
 * Splits have `split_keys()` keys; a row with one split and no prefix is finished here and written to y, others leave (o, m, l) for
 * attention_merge, m being the reference.
 *
 * **Softmax** is attention-mma.ts's. Bytes: 4·D a key and KV head; operations 4·D·group a key. Tensor cores do not pay here: their
 * matrices come from storage by loads of two bytes or four, and most of a tile's columns are no queries
 * (docs/decisions/2026-11-26-attention-of-single-tokens.md).
 * @see FlashDecoding; FlashDecoding++ part 1
 */
export function attentionVector (shape: AttentionVectorShape) {
  const { headDim, group, subgroups, capped, subgroup } = shape
  const { lanes, keysAtOnce, loads, run } = geometry(shape)
  const vectors = headDim / 8
  const threads = subgroups * subgroup
  const laneBits = Math.log2(lanes)
  const loadBits = Math.log2(loads)
  const spareBits = laneBits - loadBits
  const aligned = Math.min(run, 16)
  const heads = Array.from({ length: group }, (_, h) => h)
  const each = (count: number, line: (n: number) => string): string => unroll(count, line)
  const eachHead = (line: (h: number) => string): string => heads.map(line).join('\n    ')
  const chunks = Math.max(1, run / 16)
  const axis = (n: number): string => 'xyzw'[n] ?? ''
  const at = (j: number): string => `at_${Math.floor(j * keysAtOnce / 16)} + ${(j * keysAtOnce % 16) * vectors}u + own`
  const score = (h: number): string => capped ? `SOFTCAP * tanh(clamp(s_0_${h} / SOFTCAP, -10.0, 10.0))` : `s_0_${h}`
  // Lanes whose bit is set keep the upper half of what they have, and get their partner's share of it.
  const exchange = Array.from({ length: loadBits }, (_, n) => loadBits - 1 - n).map(bit => {
    const [half, mask] = [1 << bit, 1 << (bit + spareBits)]
    return `{
      let upper = (lane & ${mask}u) != 0u;
      ${each(half, j => eachHead(h => `s_${j}_${h} = select(s_${j}_${h}, s_${j + half}_${h}, upper) + subgroupShuffleXor(select(s_${j + half}_${h}, s_${j}_${h}, upper), ${mask}u);`))}
    }`
  }).join('\n    ')
  const dot = (j: number, h: number): string => [1, 2, 3].reduce((sum, n) => `fma(k_${j}_${n}, q_${h}_${n}, ${sum})`, `k_${j}_0 * q_${h}_0`)

  return defineKernel({
    name: `attention_vector_d${headDim}_g${group}_n${subgroups}_l${loads}${capped ? '_capped' : ''}`,
    bindings: { q: 'read', kv: 'read', step: 'read', partial_out: 'read_write', partial_max_sum: 'read_write', y: 'read_write' },
    overrides: attentionOverrides,
    wgsl: `
// o, m, l of one query token over one split of its keys; generated by attention-vector.ts
${attentionMmaPrelude(headDim)}
@group(0) @binding(0) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> kv: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> partial_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_max_sum: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f16>;
const GROUP = ${group}u;
const RUN = ${run}u;
var<workgroup> outputs: array<f32, ${subgroups * group * headDim}>;            // [subgroup][head][D]
var<workgroup> max_sum: array<vec2<f32>, ${subgroups * group}>;

// Whether references are raised is a vote of the subgroup, and the branch is taken by all of it.
@compute @workgroup_size(${threads})
@diagnostic(off, subgroup_uniformity)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = wg.y;
  let record = single_record(wg.z);
  // Keys before these are attended with others: attention-mma-group.ts.
  let start = record.prefix + wg.x * split_keys();
  let hidden = window_start(record.context - 1u);
  if (wg.z >= num_singles() || start >= record.context || start + split_keys() <= hidden) { return; }
  let end = min(start + split_keys(), record.context);
  let sg = thread / ${subgroup}u;
  let lane = thread % ${subgroup}u;
  // This lane's part of its key${lanes > vectors ? '; lanes past the last repeat it, and have no share' : ''}.
  let part = ${lanes > vectors ? `min(lane % ${lanes}u, ${vectors - 1}u)` : `lane % ${lanes}u`};
  let own = lane / ${lanes}u * ${vectors}u + part;
  let q_at = (record.token_row * NUM_KV_HEADS + head) * GROUP * HALVES + part;
  ${eachHead(h => `let queries_${h} = ${lanes > vectors ? `select(vec4<u32>(0u), q[q_at + ${h * vectors}u], lane % ${lanes}u < ${vectors}u)` : `q[q_at + ${h * vectors}u]`};
    ${each(4, n => `let q_${h}_${n} = unpack2x16float(queries_${h}.${axis(n)});`)}`)}
  ${eachHead(h => `var reference_${h} = UNSET; var sum_${h} = 0.0; ${each(4, n => `var o_${h}_${n} = vec2<f32>(0.0);`)}`)}
  // Past the end the last keys are read again, and their weights are zero.
  let last = (end - 1u) / ${aligned}u * ${aligned}u;
  ${each(chunks, c => `var next_${c} = key_vector(record.table, min(start + sg * RUN + ${16 * c}u, last), head);`)}
  for (var from_key = start; from_key < end; from_key += ${run * subgroups}u) {
    let first = from_key + sg * RUN;
    ${each(chunks, c => `let at_${c} = next_${c};`)}
    ${each(loads, j => `let keys_${j} = kv[${at(j)}];`)}
    ${each(loads, j => `let values_${j} = kv[${at(j)} + value_offset()];`)}
    ${each(chunks, c => `next_${c} = key_vector(record.table, min(first + ${run * subgroups + 16 * c}u, last), head);`)}
    ${each(loads, j => `${each(4, n => `let k_${j}_${n} = unpack2x16float(keys_${j}.${axis(n)});`)}
    ${eachHead(h => `let t_${j}_${h} = ${dot(j, h)};
    var s_${j}_${h} = t_${j}_${h}.x + t_${j}_${h}.y;`)}`)}
    ${exchange}
    ${each(spareBits, bit => eachHead(h => `s_0_${h} += subgroupShuffleXor(s_0_${h}, ${1 << bit}u);`))}
    let key = first + ((lane % ${lanes}u) >> ${spareBits}u) * ${keysAtOnce}u + lane / ${lanes}u;
    let shown = key >= hidden && key < end;
    ${eachHead(h => `let w_${h} = select(LOWEST, ${score(h)}, shown);`)}
    if (subgroupAny(${heads.map(h => `w_${h} > reference_${h} + HEADROOM`).join(' || ')})) {
      ${eachHead(h => `{
        let top = subgroupMax(w_${h});
        let raised = select(reference_${h}, top, top > reference_${h} + HEADROOM);
        let keep = select(exp(reference_${h} - raised), 1.0, raised == reference_${h});
        reference_${h} = raised;
        sum_${h} *= keep;
        ${each(4, n => `o_${h}_${n} *= keep;`)}
      }`)}
    }
    ${eachHead(h => `let p_${h} = exp(w_${h} - reference_${h}); sum_${h} += p_${h};`)}
    let team = lane / ${lanes}u * ${lanes}u;
    ${each(loads, j => `{
      ${each(4, n => `let v_${n} = unpack2x16float(values_${j}.${axis(n)});`)}
      ${eachHead(h => `{ let p = vec2<f32>(subgroupShuffle(p_${h}, team + ${j << spareBits}u)); ${each(4, n => `o_${h}_${n} = fma(p, v_${n}, o_${h}_${n});`)} }`)}
    }`)}
  }
  // Teams of lanes have each summed keys of their own; a score's copies in a team count once.
  ${Array.from({ length: 5 - laneBits }, (_, n) => 1 << (laneBits + n)).map(mask => eachHead(h => each(4, n => `o_${h}_${n} += subgroupShuffleXor(o_${h}_${n}, ${mask}u);`))).join('\n  ')}
  ${eachHead(h => `let total_${h} = subgroupAdd(sum_${h}) * ${1 / (1 << spareBits)};`)}
  if (lane < ${vectors}u) {
    ${eachHead(h => each(4, n => `{ let to = (sg * GROUP + ${h}u) * ${headDim}u + lane * 8u + ${2 * n}u; outputs[to] = o_${h}_${n}.x; outputs[to + 1u] = o_${h}_${n}.y; }`))}
  }
  if (lane == 0u) {
    ${eachHead(h => `max_sum[sg * GROUP + ${h}u] = vec2<f32>(reference_${h}, total_${h});`)}
  }
  workgroupBarrier();
  let only = record.prefix == 0u && record.context <= split_keys();
  for (var e = thread; e < GROUP * ${headDim}u; e += ${threads}u) {
    let h = e / ${headDim}u;
    var top = max_sum[h].x;
    ${each(subgroups - 1, n => `top = max(top, max_sum[${n + 1}u * GROUP + h].x);`)}
    var o = 0.0;
    var l = 0.0;
    ${each(subgroups, n => `{
      let ml = max_sum[${n}u * GROUP + h];
      let share = exp(ml.x - top);
      o = fma(outputs[${n * group * headDim}u + e], share, o);
      l = fma(ml.y, share, l);
    }`)}
    if (only) {
      y[(record.token_row * NUM_KV_HEADS + head) * GROUP * ${headDim}u + e] = f16(o / l);
    } else {
      let to = ((record.partial + prefix_parts(record) + wg.x) * NUM_KV_HEADS + head) * GROUP + h;
      partial_out[to * ${headDim}u + e % ${headDim}u] = o;
      if (e % ${headDim}u == 0u) { partial_max_sum[to] = vec2<f32>(top, l); }
    }
  }
}
`
  })
}
