// rms_norm_summed — v[r] = x[row(r)] + Σ_p sums[p][row(r)]; y[r] = v / sqrt(mean(v²) + EPS) · weight; x[r] = v         one workgroup per output row
// rms_norm behind a product that was left in PARTS parts of K: the residual stream gets what the product adds here, in ascending order.
// With GATHER row(r) is the hidden row of logit row r, which several may share; x, which nobody reads any more, stays as it is.
override HIDDEN_SIZE: u32;
override EPS: f32;
override GATHER: bool;
override PARTS: u32;
override PART_ROWS: u32;
override THREADS: u32;
override LEFT_AT: u32;     // as in rms_norm
override LEFT_ROWS: u32;
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;      // [part][PART_ROWS][HIDDEN_SIZE/4]
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<act4>;
@group(0) @binding(5) var<storage, read_write> row_scales: array<f32>;

fn summed(row: u32, c: u32) -> vec4<f32> {
  let vectors = HIDDEN_SIZE / 4u;
  var v = x[row * vectors + c];
  for (var p = 0u; p < PARTS; p++) { v += sums[(p * PART_ROWS + row) * vectors + c]; }
  return v;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let rows = select(num_tokens(), num_logit_rows(), GATHER);
  var row = wg.x;
  if (GATHER) { row = logit_record(wg.x, 0u).x; }
  let vectors = HIDDEN_SIZE / 4u;
  var squares = 0.0;
  for (var c = thread; c < vectors; c += THREADS) {
    let v = summed(row, c);
    if (!GATHER && wg.x < rows) { x[row * vectors + c] = v; }
    squares += dot(v, v);
  }
  let scale = inverseSqrt(workgroup_sum(squares, thread, THREADS) / f32(HIDDEN_SIZE) + EPS);
  if (wg.x >= rows) { return; }
  if (thread == 0u && wg.x < LEFT_ROWS) { row_scales[LEFT_AT + wg.x] = scale; }
  for (var c = thread; c < vectors; c += THREADS) {
    var v: vec4<f32>;
    // Written above by this thread itself.
    if (GATHER) { v = summed(row, c); } else { v = x[row * vectors + c]; }
    y[wg.x * vectors + c] = act4(clamp(v * scale * weight[c], vec4<f32>(-ACT_MAX), vec4<f32>(ACT_MAX)));
  }
}
