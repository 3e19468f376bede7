// copy — output[i] = input[i]                                          one thread per 16 bytes, striding over the grid
override COUNT: u32;
@group(0) @binding(0) var<storage, read> input: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  for (var i = wg.x * 256u + thread; i < COUNT; i += groups.x * 256u) { output[i] = input[i]; }
}
