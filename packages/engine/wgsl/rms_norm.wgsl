// rms_norm — y[r, c] = x[row(r), c] / sqrt(mean_c(x²) + EPS) · weight[c]                       one workgroup per output row
// row(r) is r, or with GATHER the hidden row of logit row r: only rows that need logits are normalised before the head.
override HIDDEN_SIZE: u32;
override EPS: f32;
override GATHER: bool;
override THREADS: u32;
override LEFT_AT: u32;     // where row_scales gets the inverse root mean squares of the first
override LEFT_ROWS: u32;   // rows, which a norm that is deferred behind this one asks for (matmul/deferred-norm.ts)
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<act4>;
@group(0) @binding(4) var<storage, read_write> row_scales: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // How many rows there are is asked for now and needed at the end: nothing waits for it.
  let rows = select(num_tokens(), num_logit_rows(), GATHER);
  var row = wg.x;
  if (GATHER) { row = logit_record(wg.x, 0u).x; }
  let vectors = HIDDEN_SIZE / 4u;
  var squares = 0.0;
  for (var c = thread; c < vectors; c += THREADS) {
    let v = x[row * vectors + c];
    squares += dot(v, v);
  }
  let scale = inverseSqrt(workgroup_sum(squares, thread, THREADS) / f32(HIDDEN_SIZE) + EPS);
  if (wg.x >= rows) { return; }
  if (thread == 0u && wg.x < LEFT_ROWS) { row_scales[LEFT_AT + wg.x] = scale; }
  for (var c = thread; c < vectors; c += THREADS) {
    y[wg.x * vectors + c] = act4(clamp(x[row * vectors + c] * scale * weight[c], vec4<f32>(-ACT_MAX), vec4<f32>(ACT_MAX)));
  }
}
