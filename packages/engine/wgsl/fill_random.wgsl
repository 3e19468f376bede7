// fill_random — w[i] = (a sum of two uniform draws by hash(seed, i), centred) · amplitude              one thread per 4 elements
// Synthetic weights for benches: any layout, since a random matrix is random in every order.
// What is filled, and how, is read and no override: a model has tens of weights, and drivers compile for each override's value.
struct Request { count: u32, seed: u32, amplitude: f32 }   // count: vectors of 4
@group(0) @binding(0) var<storage, read> request: Request;
@group(0) @binding(1) var<storage, read_write> weight: array<elem4>;

fn hash(value: u32) -> u32 {
  var h = value * 0x9e3779b1u + request.seed;
  h = (h ^ (h >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  for (var i = wg.x * 256u + thread; i < request.count; i += groups.x * 256u) {
    let bits = vec4<u32>(hash(4u * i), hash(4u * i + 1u), hash(4u * i + 2u), hash(4u * i + 3u));
    let draw = (vec4<f32>(bits & vec4<u32>(0xffffu)) + vec4<f32>(bits >> vec4<u32>(16u))) / 65536.0 - 1.0;
    weight[i] = elem4(draw * request.amplitude);
  }
}
