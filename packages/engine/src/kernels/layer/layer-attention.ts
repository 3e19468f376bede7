import { unroll } from '../unroll.ts'
import type { ExchangeLayout } from './layer-exchange.ts'
import type { WholeLayerShape } from './layer-shape.ts'

/** How a workgroup attends its part of one head's keys. */
export interface LayerAttention {
  /** Query heads per KV head. */
  readonly group: number
  /** Keys that a workgroup attends at a time, a lane for each 16 bytes of them. */
  readonly keys: number
  /** Lanes that share a pair of a query head's outputs. */
  readonly sharers: number
  /** Vectors between staged values, one more than they have, so that neighbours lie in different banks. */
  readonly stride: number
}

export function layerAttention ({ numHeads, numKVHeads, headDim, teams, subgroup }: WholeLayerShape): LayerAttention {
  const group = numHeads / numKVHeads
  const keys = 32 * teams * 8 / headDim
  const sharers = 2 ** Math.floor(Math.log2(32 * teams / (group * headDim / 2)))
  return { group, keys, sharers: Math.min(subgroup, keys, sharers), stride: headDim / 8 + 1 }
}

/** Declarations, what is asked for before q, k and v are there, and everything from then to what the output projection reads. */
export interface LayerAttentionText { readonly declarations: string, readonly begin: string, readonly finish: string }

/**
 * The token's query heads attend its keys, those of a KV head cut into parts of `keys` or more, one for a workgroup; workgroups past the last part have
 * none. The first part's workgroup merges all. q and k turn on the way, and the last part's workgroup writes the token's own key and value to
 * their slot: it attends them as they came, since nobody else's writes to storage are seen before the next dispatch.
 *
 * Softmax with a running maximum; values of a part pass through workgroup memory.
 * @see FlashDecoding
 */
export function layerAttentionText (shape: WholeLayerShape, box: ExchangeLayout): LayerAttentionText {
  const { numHeads, numKVHeads, headDim, qkNorm, workgroups, teams, subgroup } = shape
  const { group, keys, sharers, stride } = layerAttention(shape)
  const threads = 32 * teams
  const half = headDim / 2
  const vectors = headDim / 8
  const pairs = group * half
  const turned = (group + 1) * half
  const turns = Math.ceil(turned / threads)
  const values = `BLOCK_SIZE * ${numKVHeads * vectors}u`
  const perLane = keys / subgroup
  const lanes = (line: (i: number) => string): string => unroll(perLane, line)
  const fold = (name: string, join: (a: string, b: string) => string): string => Array.from({ length: perLane }, (_, i) => `${name}_${i}`).reduce(join)
  const shuffled = (from: number, to: number, line: (mask: number) => string): string => unroll(Math.log2(to / from), bit => line(from << bit))
  const own = (index: number): string => `{
          let a = clamp(raw[${index * headDim / 4}u + part * 2u], vec4<f32>(-F16_MAX), vec4<f32>(F16_MAX));
          let b = clamp(raw[${index * headDim / 4}u + part * 2u + 1u], vec4<f32>(-F16_MAX), vec4<f32>(F16_MAX));
          ${index === group ? 'k_now' : 'v_now'} = vec4<u32>(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
        }`
  return {
    declarations: `var<workgroup> raw: array<vec4<f32>, ${(group + 2) * headDim / 4}>;    // [q of the group | k | v][D]
var<workgroup> scores: array<f32, ${group * keys}>;
var<workgroup> kept: array<f32, ${group}>;
var<workgroup> max_sum: array<vec2<f32>, ${group}>;
/** Where a key's vectors begin. */
fn key_vector(table: u32, key: u32, head: u32) -> u32 {
  return ((table_entry(table, key / BLOCK_SIZE) * ${2 * numKVHeads}u + head) * BLOCK_SIZE + key % BLOCK_SIZE) * ${vectors}u;
}`,
    begin: `let record = single_record(0u);
  let last = record.context - 1u;
  let hidden = select(0u, record.context - WINDOW, WINDOW > 0u && record.context > WINDOW);
  let chunks = (record.context - hidden + ${keys - 1}u) / ${keys}u;
  let splits = min(chunks, ${box.splits}u);
  // From the last workgroup on: the first have one column more of q, k and v.
  let head = (${workgroups - 1}u - me) % ${numKVHeads}u;
  let split = (${workgroups - 1}u - me) / ${numKVHeads}u;
  let attends = split < splits;
  let own_key = thread / ${vectors}u;
  let part = thread % ${vectors}u;
  var key = hidden + split * ${keys}u + own_key;
  var at = key_vector(record.table, min(key, last), head) + part;
  var next_k = vec4<u32>(0u);
  var next_v = vec4<u32>(0u);
  if (attends) {
    next_k = kv[at];
    next_v = kv[at + ${values}];
  }
  ${unroll(turns, i => `let turn_${i} = rotation[last * ${half}u + (thread + ${i * threads}u) % ${half}u];`)}`,
    finish: `if (attends) {
    for (var n = thread; n < ${(group + 2) * headDim}u; n += ${threads}u) {
      var column = head * ${group * headDim}u + n;
      if (n >= ${group * headDim}u) { column = ${numHeads * headDim}u + head * ${headDim}u + n - ${group * headDim}u; }
      if (n >= ${(group + 1) * headDim}u) { column = ${(numHeads + numKVHeads) * headDim}u + head * ${headDim}u + n - ${(group + 1) * headDim}u; }
      raw[n / 4u][n % 4u] = bitcast<f32>(wait(${box.qkv}u + column, look(${box.qkv}u + column)));
    }
    workgroupBarrier();
    ${qkNorm
      ? `if (thread < ${(group + 1) * subgroup}u) {
      let h = thread / ${subgroup}u;
      var squares = 0.0;
      for (var d = thread % ${subgroup}u; d < ${headDim}u; d += ${subgroup}u) { let n = h * ${headDim}u + d; squares += raw[n / 4u][n % 4u] * raw[n / 4u][n % 4u]; }
      let scale = inverseSqrt(subgroupAdd(squares) / ${headDim}.0 + EPS);
      for (var d = thread % ${subgroup}u; d < ${headDim}u; d += ${subgroup}u) { let n = h * ${headDim}u + d; raw[n / 4u][n % 4u] *= scale * qk_norm[select(0u, ${headDim}u, h == ${group}u) + d]; }
    }
    workgroupBarrier();`
      : ''}
    ${unroll(turns, i => `{
      let n = thread + ${i * threads}u;
      if (n < ${turned}u) {
        let a = n / ${half}u * ${headDim}u + n % ${half}u;
        let b = a + ${half}u;
        let pair = vec2<f32>(raw[a / 4u][a % 4u], raw[b / 4u][b % 4u]);
        let scale = select(1.0, SCALE, n < ${pairs}u);
        raw[a / 4u][a % 4u] = fma(pair.x, turn_${i}.x, -(pair.y * turn_${i}.y)) * scale;
        raw[b / 4u][b % 4u] = fma(pair.y, turn_${i}.x, pair.x * turn_${i}.y) * scale;
      }
    }`)}
    workgroupBarrier();
    var top = LOWEST;
    var total = 0.0;
    var out = vec2<f32>(0.0);
    let out_pair = thread / ${sharers}u;
    let share = thread % ${sharers}u;
    for (var chunk = split; chunk < chunks; chunk += ${box.splits}u) {
      var k_now = next_k;
      var v_now = next_v;
      if (key == last) {
        ${own(group)}
        ${own(group + 1)}
        kv[at] = k_now;
        kv[at + ${values}] = v_now;
      }
      let shown = key <= last;
      operand[own_key * ${stride}u + part] = select(vec4<u32>(0u), v_now, shown);
      key += ${keys * box.splits}u;
      if (chunk + ${box.splits}u < chunks) {
        at = key_vector(record.table, min(key, last), head) + part;
        next_k = kv[at];
        next_v = kv[at + ${values}];
      }
      ${['x', 'y', 'z', 'w'].map(c => `let k_${c} = unpack2x16float(k_now.${c});`).join(' ')}
      ${unroll(group, h => `{
        let a = raw[${h * headDim / 4}u + part * 2u];
        let b = raw[${h * headDim / 4}u + part * 2u + 1u];
        var score = dot(k_x, a.xy) + dot(k_y, a.zw) + dot(k_z, b.xy) + dot(k_w, b.zw);
        ${shuffled(1, vectors, mask => `score += subgroupShuffleXor(score, ${mask}u);`)}
        if (part == 0u) { scores[${h * keys}u + own_key] = select(LOWEST, score, shown); }
      }`)}
      workgroupBarrier();
      if (thread < ${group * subgroup}u) {
        let h = thread / ${subgroup}u;
        let begin = h * ${keys}u + thread % ${subgroup}u;
        ${lanes(i => `let score_${i} = scores[begin + ${subgroup * i}u];`)}
        let raised = max(top, subgroupMax(${fold('score', (a, b) => `max(${a}, ${b})`)}));
        let keep = exp(top - raised);
        top = raised;
        ${lanes(i => `let weight_${i} = exp(score_${i} - raised); scores[begin + ${subgroup * i}u] = weight_${i};`)}
        total = total * keep + subgroupAdd(${fold('weight', (a, b) => `${a} + ${b}`)});
        if (thread % ${subgroup}u == 0u) { kept[h] = keep; max_sum[h] = vec2<f32>(top, total); }
      }
      workgroupBarrier();
      if (out_pair < ${pairs}u) {
        let h = out_pair / ${half}u;
        let word = out_pair % ${half}u;
        out *= kept[h];
        for (var n = 0u; n < ${keys / sharers}u; n++) {
          let j = n * ${sharers}u + share;
          out = fma(vec2<f32>(scores[h * ${keys}u + j]), unpack2x16float(operand[j * ${stride}u + word / 4u][word % 4u]), out);
        }
      }
      workgroupBarrier();
    }
    ${shuffled(1, sharers, mask => `out += vec2<f32>(subgroupShuffleXor(out.x, ${mask}u), subgroupShuffleXor(out.y, ${mask}u));`)}
    if (out_pair < ${pairs}u && share == 0u) {
      let h = out_pair / ${half}u;
      let ml = max_sum[h];
      let value = pack2x16float(out / ml.y);
      if (splits == 1u) {
        publish(${box.attended}u + head * ${pairs}u + out_pair, value);
      } else {
        publish(${box.parts}u + (split * ${numKVHeads}u + head) * ${pairs}u + out_pair, value);
        if (out_pair % ${half}u == 0u) { publish(${box.logSums}u + (split * ${numKVHeads}u + head) * ${group}u + h, bitcast<u32>(ml.x + log(ml.y))); }
      }
    }
    if (split == 0u && splits > 1u) {
      workgroupBarrier();
      ${merge(shape, box)}
    }
  }`
  }
}

/** A lane for every pair of outputs and every so-manieth part. Were each workgroup to merge for itself, 128 of them would read the same lines: 5 us more a layer. */
function merge (shape: WholeLayerShape, box: ExchangeLayout): string {
  const { numKVHeads, headDim } = shape
  const { group, sharers } = layerAttention(shape)
  const half = headDim / 2
  const pairs = group * half
  const shuffled = (line: (mask: number) => string): string => unroll(Math.log2(sharers), bit => line(1 << bit))
  return `var highest = LOWEST;
      var weights = 0.0;
      var merged = vec2<f32>(0.0);
      if (out_pair < ${pairs}u) {
        for (var n = share; n < splits; n += ${sharers}u) {
          let log_at = ${box.logSums}u + (n * ${numKVHeads}u + head) * ${group}u + out_pair / ${half}u;
          let part_at = ${box.parts}u + (n * ${numKVHeads}u + head) * ${pairs}u + out_pair;
          let log_seen = look(log_at);
          let part_seen = look(part_at);
          let log_sum = bitcast<f32>(wait(log_at, log_seen));
          let value = unpack2x16float(wait(part_at, part_seen));
          let raised = max(highest, log_sum);
          let keep = exp(highest - raised);
          let weight = exp(log_sum - raised);
          weights = weights * keep + weight;
          merged = merged * keep + value * weight;
          highest = raised;
        }
      }
      var all = highest;
      ${shuffled(mask => `all = max(all, subgroupShuffleXor(all, ${mask}u));`)}
      let keep = exp(highest - all);
      weights *= keep;
      merged *= keep;
      ${shuffled(mask => `weights += subgroupShuffleXor(weights, ${mask}u); merged += vec2<f32>(subgroupShuffleXor(merged.x, ${mask}u), subgroupShuffleXor(merged.y, ${mask}u));`)}
      if (out_pair < ${pairs}u && share == 0u) { publish(${box.attended}u + head * ${pairs}u + out_pair, pack2x16float(merged / weights)); }`
}
