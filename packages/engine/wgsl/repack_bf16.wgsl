// repack_bf16 — rows of a row-major bf16 weight [rows][K] as f16 in the layout the matrix kernels read      one thread per 4 elements
// Exact for what is normal in f16, to nearest even below; a finite value that f16 cannot hold becomes infinite and is counted.
override K: u32;
override N: u32;         // rows of the destination
override LAYOUT: u32;    // as in repack.wgsl
@group(0) @binding(0) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> range: array<u32>;   // first destination row, row count, index of this tensor's count
@group(0) @binding(2) var<storage, read_write> weight: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> overflowed: array<atomic<u32>>;

fn to_half(bits: u32) -> u32 {
  let sign = bits & 0x8000u;
  let magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7f80u) { return sign | select(0x7e00u, 0x7c00u, magnitude == 0x7f80u); }
  if (magnitude >= 0x4780u) {
    atomicAdd(&overflowed[range[2]], 1u);
    return sign | 0x7c00u;
  }
  // From 2^-14 on only the exponent's bias changes: the f16 fraction has room for all of bf16's.
  if (magnitude >= 0x3880u) { return sign | ((magnitude - 0x3800u) << 3u); }
  return sign | u32(round(bitcast<f32>(magnitude << 16u) * 16777216.0));
}

fn to_halves(pair: u32) -> u32 { return to_half(pair & 0xffffu) | (to_half(pair >> 16u) << 16u); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let c = wg.x * 64u + thread;
  let r = wg.y + wg.z * 32768u;
  if (c >= K / 4u || r >= range[1]) { return; }
  let n = range[0] + r;
  var at = c * N + n;
  if (LAYOUT == 1u) { at = (((n >> 4u) * (K >> 4u) + (c >> 2u)) * 16u + (n & 15u)) * 4u + (c & 3u); }
  let four = rows[r * (K / 4u) + c];
  weight[at] = vec2<u32>(to_halves(four.x), to_halves(four.y));
}
