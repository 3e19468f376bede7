// quantize_rows — scale[t] = max_c |x[t, c]| / 127, q[t, c] = round(x[t, c] / scale[t])                     one workgroup per row
override HIDDEN_SIZE: u32;
override THREADS: u32;
@group(0) @binding(0) var<storage, read> x: array<act4>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> q: array<u32>;      // four signed bytes each
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let rows = num_tokens();
  let vectors = HIDDEN_SIZE / 4u;
  var largest = vec4<f32>(0.0);
  for (var c = thread; c < vectors; c += THREADS) { largest = max(largest, abs(vec4<f32>(x[wg.x * vectors + c]))); }
  let pairs = max(largest.xy, largest.zw);
  let row_largest = workgroup_max(max(pairs.x, pairs.y), thread, THREADS);
  if (wg.x >= rows) { return; }
  // Of what is smaller than that the reciprocal could be infinite: such a row is zeros, and so is what comes of it.
  let is_zero = row_largest < 1e-30;
  if (thread == 0u) { scale[wg.x] = select(row_largest / 127.0, 0.0, is_zero); }
  let inverse = select(127.0 / row_largest, 0.0, is_zero);
  for (var c = thread; c < vectors; c += THREADS) {
    q[wg.x * vectors + c] = pack4xI8(vec4<i32>(clamp(round(vec4<f32>(x[wg.x * vectors + c]) * inverse), vec4<f32>(-127.0), vec4<f32>(127.0))));
  }
}
