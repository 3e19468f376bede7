import { unroll } from '../unroll.ts'
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

/** The text of one workgroup's part of one head's keys. */
export interface PartText {
  readonly place: string
  /** Asks where the first keys lie, and then for them. */
  readonly look: string
  readonly begin: string
  /** Attends chunk after chunk from `split` on, and writes the token's own key and value, which lie in `raw`, to their slot. */
  readonly attend: string
}

/**
 * A lane for each 16 bytes of a key; values pass through workgroup memory. Softmax with a running maximum: a thread's pair of outputs is in `out`, sums of weights are in `max_sum`.
 */
export function attendedPart (shape: WholeLayerShape): PartText {
  const { headDim, numKVHeads, subgroup } = shape
  const { group, keys, sharers, stride } = layerAttention(shape)
  const vectors = headDim / 8
  const half = headDim / 2
  const pairs = group * half
  const perLane = keys / subgroup
  const toValues = `BLOCK_SIZE * ${numKVHeads * vectors}u`
  const lanes = (line: (i: number) => string): string => unroll(perLane, line)
  const fold = (name: string, join: (a: string, b: string) => string): string => Array.from({ length: perLane }, (_, i) => `${name}_${i}`).reduce(join)
  const look = 'block = table_entry(record.table, min(key, last) / BLOCK_SIZE);'
  const ask = `at = ((block * ${2 * numKVHeads}u + head) * BLOCK_SIZE + min(key, last) % BLOCK_SIZE) * ${vectors}u + part;
        next_k = kv[at];
        next_v = kv[at + ${toValues}];`
  return {
    place: `let own_key = thread / ${vectors}u;
  let part = thread % ${vectors}u;
  var key = hidden + split * ${keys}u + own_key;
  var block = 0u;
  var at = 0u;
  var next_k = vec4<u32>(0u);
  var next_v = vec4<u32>(0u);`,
    look: `if (attends) { ${look} }`,
    begin: `if (attends) {
    ${ask}
    // Those of the next chunk, or the last key's.
    key += ${keys}u * most_splits;
    ${look}
  }`,
    attend: `for (var chunk = split; chunk < chunks; chunk += most_splits) {
      let now = key - ${keys}u * most_splits;
      var k_now = next_k;
      var v_now = next_v;
      if (now == last) {
        k_now = own_vector(${group}u, part);
        v_now = own_vector(${group + 1}u, part);
        kv[at] = k_now;
        kv[at + ${toValues}] = v_now;
      }
      let shown = now <= last;
      operand[own_key * ${stride}u + part] = select(vec4<u32>(0u), v_now, shown);
      if (chunk + most_splits < chunks) {
        ${ask}
      }
      key += ${keys}u * most_splits;
      ${look}
      ${['x', 'y', 'z', 'w'].map(c => `let k_${c} = unpack2x16float(k_now.${c});`).join(' ')}
      ${unroll(group, h => `{
        let a = raw[${h * headDim / 4}u + part * 2u];
        let b = raw[${h * headDim / 4}u + part * 2u + 1u];
        var score = dot(k_x, a.xy) + dot(k_y, a.zw) + dot(k_z, b.xy) + dot(k_w, b.zw);
        ${unroll(Math.log2(vectors), bit => `score += subgroupShuffleXor(score, ${1 << bit}u);`)}
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
    }`
  }
}
