// embedding_norm — x[t] = SCALE · E[token(t)], y[t, c] = x[t, c] / sqrt(mean_c(x²) + EPS) · weight[c]               one workgroup per token
// embedding and the rms_norm of the first layer in one, of a table in one buffer.
override HIDDEN_SIZE: u32;
override ROWS: u32;
override SCALE: f32;
override LAYOUT: u32;      // of the table, weight-layout.ts
override EPS: f32;
override THREADS: u32;
override LEFT_ROWS: u32;   // as in rms_norm
@group(0) @binding(0) var<storage, read> table: array<elem4>;
@group(0) @binding(1) var<storage, read> sampled: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<act4>;
@group(0) @binding(6) var<storage, read_write> row_scales: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tokens = num_tokens();
  let record = token_record(wg.x);
  var token = record.token;
  if (token == DEVICE_TOKEN) { token = sampled[record.state_row]; }
  let row = min(token, ROWS - 1u);
  let vectors = HIDDEN_SIZE / 4u;
  var squares = 0.0;
  for (var c = thread; c < vectors; c += THREADS) {
    let v = vec4<f32>(table[table_vector(row, c)]) * SCALE;
    if (wg.x < tokens) { x[wg.x * vectors + c] = v; }
    squares += dot(v, v);
  }
  let scale = inverseSqrt(workgroup_sum(squares, thread, THREADS) / f32(HIDDEN_SIZE) + EPS);
  if (wg.x >= tokens) { return; }
  if (thread == 0u && wg.x < LEFT_ROWS) { row_scales[wg.x] = scale; }
  // Written above by this thread itself.
  for (var c = thread; c < vectors; c += THREADS) {
    y[wg.x * vectors + c] = act4(clamp(x[wg.x * vectors + c] * scale * weight[c], vec4<f32>(-ACT_MAX), vec4<f32>(ACT_MAX)));
  }
}
