// group_experts — pairs = all token · TOP_K + slot, ascending by (chosen[pair], pair), cut into tiles of one expert   one workgroup per expert
// A tile holds at most TILE_ROWS pairs; tiles[0].x is their number. Every workgroup counts all pairs for itself: none waits for another.
override NUM_EXPERTS: u32;   // at most 256
override TOP_K: u32;
override TILE_ROWS: u32;
override THREADS: u32;
@group(0) @binding(0) var<storage, read> chosen: array<u32>;              // [token][TOP_K]
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> pairs: array<u32>;         // [token · TOP_K]
@group(0) @binding(3) var<storage, read_write> tiles: array<vec4<u32>>;   // [1 + tiles] expert, first index into pairs, pairs, 0

var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> pairs_before: atomic<u32>;
var<workgroup> tiles_before: atomic<u32>;
var<workgroup> all_tiles: atomic<u32>;
var<workgroup> owned: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let expert = wg.x;
  let total = num_tokens() * TOP_K;
  // The production profile leaves workgroup memory as it was.
  for (var e = thread; e < NUM_EXPERTS; e += THREADS) { atomicStore(&counts[e], 0u); }
  if (thread == 0u) {
    atomicStore(&pairs_before, 0u);
    atomicStore(&tiles_before, 0u);
    atomicStore(&all_tiles, 0u);
  }
  workgroupBarrier();
  for (var p = thread; p < total; p += THREADS) { atomicAdd(&counts[chosen[p]], 1u); }
  // A thread owns consecutive pairs, so that writing them behind those of the threads before it keeps their order.
  let each = (total + THREADS - 1u) / THREADS;
  let from_pair = min(thread * each, total);
  let to_pair = min(from_pair + each, total);
  var own = 0u;
  for (var p = from_pair; p < to_pair; p++) { own += u32(chosen[p] == expert); }
  owned[thread] = own;
  workgroupBarrier();
  for (var e = thread; e < NUM_EXPERTS; e += THREADS) {
    let count = atomicLoad(&counts[e]);
    let needed = (count + TILE_ROWS - 1u) / TILE_ROWS;
    if (e < expert) {
      atomicAdd(&pairs_before, count);
      atomicAdd(&tiles_before, needed);
    }
    atomicAdd(&all_tiles, needed);
  }
  workgroupBarrier();
  let first = atomicLoad(&pairs_before);
  var at = first;
  for (var i = 0u; i < thread; i++) { at += owned[i]; }
  for (var p = from_pair; p < to_pair; p++) {
    if (chosen[p] == expert) {
      pairs[at] = p;
      at++;
    }
  }
  let count = atomicLoad(&counts[expert]);
  let first_tile = atomicLoad(&tiles_before);
  for (var i = thread; i * TILE_ROWS < count; i += THREADS) {
    tiles[1u + first_tile + i] = vec4<u32>(expert, first + i * TILE_ROWS, min(TILE_ROWS, count - i * TILE_ROWS), 0u);
  }
  if (expert == 0u && thread == 0u) { tiles[0] = vec4<u32>(atomicLoad(&all_tiles), 0u, 0u, 0u); }
}
