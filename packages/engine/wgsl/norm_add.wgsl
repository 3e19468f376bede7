// norm_add — x[t, c] += y[t, c] / sqrt(mean_c(y²) + EPS) · weight[c]                                      one workgroup per token
// The norm behind attention or MLP, in models that normalise what a branch adds to the residual stream x.
override HIDDEN_SIZE: u32;
override EPS: f32;
override THREADS: u32;
@group(0) @binding(0) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (wg.x >= num_tokens()) { return; }
  let vectors = HIDDEN_SIZE / 4u;
  let row = wg.x * vectors;
  var squares = 0.0;
  for (var c = thread; c < vectors; c += THREADS) {
    let v = y[row + c];
    squares += dot(v, v);
  }
  let scale = inverseSqrt(workgroup_sum(squares, thread, THREADS) / f32(HIDDEN_SIZE) + EPS);
  for (var c = thread; c < vectors; c += THREADS) {
    x[row + c] += y[row + c] * scale * weight[c];
  }
}
