// to_activation — y[t, c] = x[t, c] as act: the input of projections in models without a norm before them     one thread per 4 values
override HIDDEN_SIZE: u32;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<act4>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let c = wg.x * 64u + thread;
  if (wg.y >= num_tokens() || c >= HIDDEN_SIZE / 4u) { return; }
  let at = wg.y * (HIDDEN_SIZE / 4u) + c;
  y[at] = act4(clamp(x[at], vec4<f32>(-ACT_MAX), vec4<f32>(ACT_MAX)));
}
