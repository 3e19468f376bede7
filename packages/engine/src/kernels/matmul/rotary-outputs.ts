export const rotaryOverrides = ['K', 'OWN_COLUMNS', 'BIAS', 'NUM_HEADS', 'NUM_KV_HEADS', 'HEAD_DIM', 'TURNS', 'BLOCK_SIZE', 'SCALE'] as const

/**
 * Declarations of a kernel that projects queries, keys and values and turns them: overrides, its first four bindings, and where the rows of
 * W `[q heads | k heads | v heads][D]`, tiled, lie. A rotation pairs outputs i and i + D/2 of a head; so column tile `tile` of such a kernel, but for one that streams W, is made of
 * eight of the former, rows 0 to 7, and eight of the latter: two half tiles of the weight, 256 bytes of each side by side. D is a multiple of 32.
 * A head is turned whole, or not at all (NoPE).
 * @param x the type of x's elements
 */
export function rotaryHeader (x: string): string {
  return `override K: u32;
override OWN_COLUMNS: u32;   // (NUM_HEADS + 2 · NUM_KV_HEADS) · HEAD_DIM
override BIAS: bool;
override NUM_HEADS: u32;
override NUM_KV_HEADS: u32;
override HEAD_DIM: u32;
override TURNS: bool;
override BLOCK_SIZE: u32;
override SCALE: f32;         // of queries
@group(0) @binding(0) var<storage, read> x: array<${x}>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;

/** Column tiles of a head. */
fn head_tiles() -> u32 { return HEAD_DIM / 16u; }
/** The vector that a row of a column tile begins with, in K tile 0. */
fn pair_row(tile: u32, row: u32) -> u32 {
  let eight = tile % head_tiles();
  let source = tile - eight + eight / 2u + select(0u, HEAD_DIM / 32u, row >= 8u);
  return source * (K / 16u) * 32u + (eight % 2u * 8u + row % 8u) * 2u;
}
/** True for queries and keys. */
fn turns(tile: u32) -> bool { return TURNS && tile / head_tiles() < NUM_HEADS + NUM_KV_HEADS; }
fn turn_index(tile: u32, position: u32, e: u32) -> u32 { return position * (HEAD_DIM / 2u) + tile % head_tiles() * 8u + e; }`
}

/**
 * Turns pair `e` of a column tile by `turned` and writes it: a query of row `m`, scaled, or a key or value in the slot of `record`.
 * @param a,b the pair's sums
 */
export function storeRotated (tile: string, e: string, a: string, b: string): string {
  return `let head = ${tile} / head_tiles();
    let i = ${tile} % head_tiles() * 8u + ${e};
    let half = HEAD_DIM / 2u;
    var pair = vec2<f32>(${a}, ${b});
    if (BIAS) { pair += vec2<f32>(bias[head * HEAD_DIM + i], bias[head * HEAD_DIM + i + half]); }
    let out = vec2<f32>(fma(pair.x, turned.x, -(pair.y * turned.y)), fma(pair.y, turned.x, pair.x * turned.y));
    if (head < NUM_HEADS) {
      let to = (m * NUM_HEADS + head) * HEAD_DIM + i;
      let scaled = clamp(out * SCALE, vec2<f32>(-ACT_MAX), vec2<f32>(ACT_MAX));
      q[to] = act(scaled.x);
      q[to + half] = act(scaled.y);
    } else {
      let is_value = head >= NUM_HEADS + NUM_KV_HEADS;
      let kv_head = (head - NUM_HEADS) % NUM_KV_HEADS;
      let block = record.slot / BLOCK_SIZE;
      let to = (((block * 2u + u32(is_value)) * NUM_KV_HEADS + kv_head) * BLOCK_SIZE + record.slot % BLOCK_SIZE) * HEAD_DIM + i;
      // Never infinite or NaN: a kernel may read a slot that no sequence has written since, with a weight of zero.
      let written = clamp(out, vec2<f32>(-ELEM_MAX), vec2<f32>(ELEM_MAX));
      kv[to] = elem(written.x);
      kv[to + half] = elem(written.y);
    }`
}
