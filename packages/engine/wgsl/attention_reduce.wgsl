// attention_reduce — merges one query token's splits in order:                        one workgroup per (query head, single row)
//   M' = max(M, m), O' = O·e^(M−M') + o·e^(m−M'), L' likewise; y = O / L
// The same arithmetic, in the same order, as the loop in attention_tile (attention-tile.ts), so both give the same bits.
override NUM_HEADS: u32;
override HEAD_DIM: u32;
override WINDOW: u32;
@group(0) @binding(0) var<storage, read> partial_out: array<vec4<f32>>;   // [split, query head][D/4], unnormalised
@group(0) @binding(1) var<storage, read> partial_max_sum: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<act4>;            // [token][query head][D/4]

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // Both are asked for before either is looked at: neither waits for the other.
  let rows = num_singles();
  let record = single_record(wg.y);
  if (wg.y >= rows) { return; }
  let keys = split_keys();
  let splits = (record.context + keys - 1u) / keys;
  // Splits wholly before the window were not computed.
  let first_split = select(0u, (max(record.context, WINDOW) - WINDOW) / keys, WINDOW > 0u);
  let first = (record.partial + first_split) * NUM_HEADS + wg.x;
  for (var d = thread; d < HEAD_DIM / 4u; d += 32u) {
    var ml = partial_max_sum[first];
    var out = partial_out[first * (HEAD_DIM / 4u) + d];
    for (var s = 1u; s < splits - first_split; s++) {
      let at = first + s * NUM_HEADS;
      let other = partial_max_sum[at];
      let top = max(ml.x, other.x);
      let keep = exp(ml.x - top);
      let take = exp(other.x - top);
      out = fma(out, vec4<f32>(keep), partial_out[at * (HEAD_DIM / 4u) + d] * take);
      ml = vec2<f32>(top, fma(ml.y, keep, other.y * take));
    }
    y[(record.token_row * NUM_HEADS + wg.x) * (HEAD_DIM / 4u) + d] = act4(out / ml.y);
  }
}
