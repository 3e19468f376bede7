import { unroll } from '../unroll.ts'
import type { ExchangeLayout } from './layer-exchange.ts'
import { attendedPart, layerAttention } from './layer-attention-part.ts'
import type { WholeLayerShape } from './layer-shape.ts'

/**
 * Declarations, what is asked for before q, k and v are there, and everything from then to what the output projection reads. A key's place is behind two loads that depend on each other, and a
 * workgroup waits for each that it needs: so they lie between other work.
 */
export interface LayerAttentionText {
  readonly declarations: string
  /** Which part of which row's keys is the workgroup's. */
  readonly place: string
  /** Asks where the first keys lie. */
  readonly look: string
  /** Asks for them. */
  readonly begin: string
  readonly finish: string
}

/**
 * The rows' query heads attend their keys, those of a KV head of a row cut into parts, one for a workgroup; workgroups past the last part have
 * none. The first part's workgroup merges all. q and k turn on the way, and the last part's workgroup writes the token's own key and value to
 * their slot: it attends them as they came, since nobody else's writes to storage are seen before the next dispatch.
 * @see FlashDecoding
 */
export function layerAttentionText (shape: WholeLayerShape, box: ExchangeLayout): LayerAttentionText {
  const { numHeads, numKVHeads, headDim, qkNorm, rows, workgroups, teams, subgroup } = shape
  const { group, sharers, keys } = layerAttention(shape)
  const part = attendedPart(shape)
  const threads = 32 * teams
  const half = headDim / 2
  const pairs = group * half
  const turned = (group + 1) * half
  const turns = Math.ceil(turned / threads)
  const width = (numHeads + 2 * numKVHeads) * headDim
  const shuffled = (from: number, to: number, line: (mask: number) => string): string => unroll(Math.log2(to / from), bit => line(from << bit))
  return {
    declarations: `var<workgroup> raw: array<vec4<f32>, ${(group + 2) * headDim / 4}>;    // [q of the group | k | v][D]
var<workgroup> scores: array<f32, ${group * keys}>;
var<workgroup> kept: array<f32, ${group}>;
var<workgroup> max_sum: array<vec2<f32>, ${group}>;
/** Eight halves of the token's own: of a query head, the key or the value. */
fn own_vector(index: u32, part: u32) -> vec4<u32> {
  let a = clamp(raw[index * ${headDim / 4}u + part * 2u], vec4<f32>(-F16_MAX), vec4<f32>(F16_MAX));
  let b = clamp(raw[index * ${headDim / 4}u + part * 2u + 1u], vec4<f32>(-F16_MAX), vec4<f32>(F16_MAX));
  return vec4<u32>(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}`,
    place: `// From the last workgroup on: the first have one column more of q, k and v.
  let head = (${workgroups - 1}u - me) % ${numKVHeads}u;
  let place = (${workgroups - 1}u - me) / ${numKVHeads}u;
  ${rows === 1
    ? `let most_splits = ${box.splits}u;
  let own_row = 0u;
  let split = place;`
    : `let most_splits = ${box.splits}u / count;
  let own_row = place % count;
  let split = place / count;`}
  let record = single_record(own_row);
  let last = record.context - 1u;
  let hidden = select(0u, record.context - WINDOW, WINDOW > 0u && record.context > WINDOW);
  let chunks = (record.context - hidden + ${keys - 1}u) / ${keys}u;
  let splits = min(chunks, most_splits);
  let attends = split < splits;
  ${part.place}`,
    look: `${part.look}
  ${unroll(turns, i => `let turn_${i} = rotation[last * ${half}u + (thread + ${i * threads}u) % ${half}u];`)}`,
    begin: part.begin,
    finish: `if (attends) {
    for (var n = thread; n < ${(group + 2) * headDim}u; n += ${threads}u) {
      var column = head * ${group * headDim}u + n;
      if (n >= ${group * headDim}u) { column = ${numHeads * headDim}u + head * ${headDim}u + n - ${group * headDim}u; }
      if (n >= ${(group + 1) * headDim}u) { column = ${(numHeads + numKVHeads) * headDim}u + head * ${headDim}u + n - ${(group + 1) * headDim}u; }
      let from_word = ${box.qkv}u + ${rows === 1 ? '' : `own_row * ${width}u + `}column;
      raw[n / 4u][n % 4u] = bitcast<f32>(wait(from_word, look(from_word)));
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
    ${part.attend}
    ${shuffled(1, sharers, mask => `out += vec2<f32>(subgroupShuffleXor(out.x, ${mask}u), subgroupShuffleXor(out.y, ${mask}u));`)}
    let unit = ${rows === 1 ? 'head' : `own_row * ${numKVHeads}u + head`};
    if (out_pair < ${pairs}u && share == 0u) {
      let h = out_pair / ${half}u;
      let ml = max_sum[h];
      let value = pack2x16float(out / ml.y);
      if (splits == 1u) {
        publish(${box.attended}u + unit * ${pairs}u + out_pair, value);
      } else {
        let own_part = split * ${rows === 1 ? '' : 'count * '}${numKVHeads}u + unit;
        publish(${box.parts}u + own_part * ${pairs}u + out_pair, value);
        if (out_pair % ${half}u == 0u) { publish(${box.logSums}u + own_part * ${group}u + h, bitcast<u32>(ml.x + log(ml.y))); }
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
  const { numKVHeads, headDim, rows } = shape
  const { group, sharers } = layerAttention(shape)
  const half = headDim / 2
  const pairs = group * half
  const shuffled = (line: (mask: number) => string): string => unroll(Math.log2(sharers), bit => line(1 << bit))
  return `var highest = LOWEST;
      var weights = 0.0;
      var merged = vec2<f32>(0.0);
      if (out_pair < ${pairs}u) {
        for (var n = share; n < splits; n += ${sharers}u) {
          let its_part = n * ${rows === 1 ? '' : 'count * '}${numKVHeads}u + unit;
          let log_at = ${box.logSums}u + its_part * ${group}u + out_pair / ${half}u;
          let part_at = ${box.parts}u + its_part * ${pairs}u + out_pair;
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
      if (out_pair < ${pairs}u && share == 0u) { publish(${box.attended}u + unit * ${pairs}u + out_pair, pack2x16float(merged / weights)); }`
}
