// rope_kv_write — q' = rotate(q, position) · SCALE; K[slot] = rotate(k, position); V[slot] = v     one thread per (token, head, pair)
// rotate is Hugging Face's half rotation of the first R dimensions: (a, b) of (i, i + R/2) → (a·cos − b·sin, b·cos + a·sin). The rest
// pass, pair by pair of neighbours; R = 0 turns nothing (NoPE).
// KV layout [block][k|v][kvHead][slot][headDim]. Keys and values are written here or by the projection itself (rotary-outputs.ts), nowhere else.
override NUM_HEADS: u32;
override NUM_KV_HEADS: u32;
override HEAD_DIM: u32;
override ROTARY_DIM: u32;            // R, even
override BLOCK_SIZE: u32;
override SCALE: f32;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;            // [token][q heads | k heads | v heads][D]
@group(0) @binding(1) var<storage, read> rotation: array<vec2<f32>>; // [position][R/2] cos, sin
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> q: array<act>;        // [token][q head][D]
@group(0) @binding(4) var<storage, read_write> kv: array<elem>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = wg.y;
  let half = HEAD_DIM / 2u;
  let pair = wg.x * 64u + thread;
  let heads = NUM_HEADS + 2u * NUM_KV_HEADS;
  if (pair >= heads * half) { return; }
  let head = pair / half;
  let i = pair % half;
  let turns = i < ROTARY_DIM / 2u;
  let first = select(ROTARY_DIM + 2u * (i - ROTARY_DIM / 2u), i, turns);
  let second = select(first + 1u, i + ROTARY_DIM / 2u, turns);
  let from_head = (t * heads + head) * HEAD_DIM;
  let a = qkv[from_head + first];
  let b = qkv[from_head + second];
  // Asked for after the values and looked at now: none of these waits for another.
  let tokens = num_tokens();
  let record = token_record(t);
  if (t >= tokens) { return; }
  var rotated = vec2<f32>(a, b);
  if (turns) {
    let turn = rotation[record.position * (ROTARY_DIM / 2u) + i];
    rotated = vec2<f32>(fma(a, turn.x, -(b * turn.y)), fma(b, turn.x, a * turn.y));
  }
  if (head < NUM_HEADS) {
    let to = (t * NUM_HEADS + head) * HEAD_DIM;
    let scaled = clamp(rotated * SCALE, vec2<f32>(-ACT_MAX), vec2<f32>(ACT_MAX));
    q[to + first] = act(scaled.x);
    q[to + second] = act(scaled.y);
    return;
  }
  let is_value = head >= NUM_HEADS + NUM_KV_HEADS;
  let kv_head = select(head - NUM_HEADS, head - NUM_HEADS - NUM_KV_HEADS, is_value);
  let block = record.slot / BLOCK_SIZE;
  let to = (((block * 2u + u32(is_value)) * NUM_KV_HEADS + kv_head) * BLOCK_SIZE + record.slot % BLOCK_SIZE) * HEAD_DIM;
  // Never infinite or NaN: a kernel may read a slot that no sequence has written since, with a weight of zero.
  let written = clamp(select(rotated, vec2<f32>(a, b), is_value), vec2<f32>(-ELEM_MAX), vec2<f32>(ELEM_MAX));
  kv[to + first] = elem(written.x);
  kv[to + second] = elem(written.y);
}
