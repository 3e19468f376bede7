// repack — rows of a row-major weight [rows][K] into the layout the matrix kernels read                 one thread per 4 elements
// LAYOUT 0: interleaved, [K/4][N] vectors of 4. LAYOUT 1: tiled, [N/16][K/16] tiles of 16 rows × 16 columns.
override K: u32;
override N: u32;         // rows of the destination
override LAYOUT: u32;
@group(0) @binding(0) var<storage, read> rows: array<elem4>;
@group(0) @binding(1) var<storage, read> range: array<u32>;   // first destination row, row count, destination row step
@group(0) @binding(2) var<storage, read_write> weight: array<elem4>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let c = wg.x * 64u + thread;
  let r = wg.y + wg.z * 32768u;
  if (c >= K / 4u || r >= range[1]) { return; }
  let n = range[0] + r;
  var at = c * N + n;
  if (LAYOUT == 1u) { at = (((n >> 4u) * (K >> 4u) + (c >> 2u)) * 16u + (n & 15u)) * 4u + (c & 3u); }
  weight[at] = rows[r * (K / 4u) + c];
}
