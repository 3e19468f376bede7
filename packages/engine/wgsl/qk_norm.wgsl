// qk_norm — s / sqrt(mean(s²) + EPS) · weight, in place, for each segment s of a token's queries and keys   one workgroup per (segment, token)
// A segment is a head, or the whole projection: Q_SEGMENTS of Q_LENGTH values, then those of K_LENGTH. Values are left alone.
override ROW: u32;          // values in a row of qkv
override Q_SEGMENTS: u32;
override Q_LENGTH: u32;
override K_LENGTH: u32;
override EPS: f32;
override THREADS: u32;
@group(0) @binding(0) var<storage, read> weight: array<f32>;          // [Q_LENGTH], then [K_LENGTH]
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> qkv: array<f32>;       // [token][q heads | k heads | v heads][D]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // How many tokens there are is asked for now and needed at the end: nothing waits for it.
  let tokens = num_tokens();
  let is_key = wg.x >= Q_SEGMENTS;
  let length = select(Q_LENGTH, K_LENGTH, is_key);
  let before = select(wg.x * Q_LENGTH, Q_SEGMENTS * Q_LENGTH + (wg.x - Q_SEGMENTS) * K_LENGTH, is_key);
  let from_weight = select(0u, Q_LENGTH, is_key);
  let at = wg.y * ROW + before;
  var squares = 0.0;
  for (var c = thread; c < length; c += THREADS) {
    let v = qkv[at + c];
    squares = fma(v, v, squares);
  }
  let scale = inverseSqrt(workgroup_sum(squares, thread, THREADS) / f32(length) + EPS);
  if (wg.y >= tokens) { return; }
  for (var c = thread; c < length; c += THREADS) {
    qkv[at + c] = qkv[at + c] * scale * weight[from_weight + c];
  }
}
