// route_experts — p = softmax_e(logits[t]); chosen[t, s] = the s-th most likely expert, share[t, s] = its p        one workgroup per token
// With SINGLES every pair becomes a tile of its own: tiles of one row need no group_experts.
// With NORMALIZE the shares of a token are divided by their sum. Equal logits: the lower expert comes first.
override NUM_EXPERTS: u32;   // at most 256
override TOP_K: u32;         // at most 16
override NORMALIZE: bool;
override SINGLES: bool;
override THREADS: u32;
@group(0) @binding(0) var<storage, read> logits: array<f32>;          // [token][NUM_EXPERTS]
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;    // [token][TOP_K]
@group(0) @binding(3) var<storage, read_write> share: array<f32>;     // [token][TOP_K]
@group(0) @binding(4) var<storage, read_write> pairs: array<u32>;         // as group_experts.wgsl writes them
@group(0) @binding(5) var<storage, read_write> tiles: array<vec4<u32>>;

var<workgroup> keys: array<vec4<u32>, 64>;
var<workgroup> best: array<u32, 16>;

/** Order of floats as unsigned integers, both zeros alike. A total order: whatever the logits are, TOP_K different experts are chosen. */
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  if (bits == 0x80000000u) { return bits; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) == 1u);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = wg.x;
  if (t >= num_tokens()) { return; }
  let row = t * NUM_EXPERTS;
  let vectors = (NUM_EXPERTS + 3u) / 4u;
  var top = logits[row];
  // A vector of keys is one thread's: WGSL lets an implementation write one component by rewriting the whole vector.
  for (var v = thread; v < vectors; v += THREADS) {
    let e = vec4<u32>(4u * v) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = vec4<u32>(row) + min(e, vec4<u32>(NUM_EXPERTS - 1u));
    let four = vec4<f32>(logits[at.x], logits[at.y], logits[at.z], logits[at.w]);
    top = max(max(top, max(four.x, four.y)), max(four.z, four.w));
    keys[v] = select(vec4<u32>(0u), vec4<u32>(key_of(four.x), key_of(four.y), key_of(four.z), key_of(four.w)), e < vec4<u32>(NUM_EXPERTS));
  }
  // The barriers inside publish the keys too, those of the sum the best experts.
  top = workgroup_max(top, thread, THREADS);
  var sum = 0.0;
  for (var e = thread; e < NUM_EXPERTS; e += THREADS) {
    sum += exp(logits[row + e] - top);
    let key = vec4<u32>(keys[e >> 2u][e & 3u]);
    var before = vec4<u32>(0u);
    for (var i = 0u; i < vectors; i++) {
      let others = 4u * i + vec4<u32>(0u, 1u, 2u, 3u);
      before += select(vec4<u32>(0u), vec4<u32>(1u), (keys[i] > key) | ((keys[i] == key) & (others < vec4<u32>(e))));
    }
    let rank = before.x + before.y + before.z + before.w;
    if (rank < TOP_K) { best[rank] = e; }
  }
  let total = workgroup_sum(sum, thread, THREADS);
  if (thread < TOP_K) {
    let expert = best[thread];
    var p = exp(logits[row + expert] - top) / total;
    if (NORMALIZE) {
      var of_chosen = 0.0;
      for (var s = 0u; s < TOP_K; s++) { of_chosen += exp(logits[row + best[s]] - top) / total; }
      p = p / of_chosen;
    }
    let pair = t * TOP_K + thread;
    chosen[pair] = expert;
    share[pair] = p;
    if (SINGLES) {
      pairs[pair] = pair;
      tiles[1u + pair] = vec4<u32>(expert, pair, 1u, 0u);
      if (pair == 0u) { tiles[0] = vec4<u32>(num_tokens() * TOP_K, 0u, 0u, 0u); }
    }
  }
}
