// combine_experts — residual[t, c] += Σ_s share[t, s] · y[t · TOP_K + s, c], slots in ascending order         one thread per 4 columns
override HIDDEN_SIZE: u32;
override TOP_K: u32;
@group(0) @binding(0) var<storage, read> y: array<vec4<f32>>;                // [token · TOP_K][HIDDEN_SIZE]
@group(0) @binding(1) var<storage, read> share: array<f32>;                  // [token][TOP_K]
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> residual: array<vec4<f32>>;   // [token][HIDDEN_SIZE]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = wg.y;
  let vectors = HIDDEN_SIZE / 4u;
  let c = wg.x * 64u + thread;
  if (t >= num_tokens() || c >= vectors) { return; }
  var sum = vec4<f32>(0.0);
  for (var s = 0u; s < TOP_K; s++) {
    let pair = t * TOP_K + s;
    sum = fma(vec4<f32>(share[pair]), y[pair * vectors + c], sum);
  }
  residual[t * vectors + c] += sum;
}
