/**
 * Softmax without synchronisation, shared by the attention kernels whose bits may depend on the batch.
 *
 * A row's weights are e^(s − r) for a reference r of its own. It begins as the largest score of the first keys and is raised only
 * when a score exceeds it by more than HEADROOM = 8, which costs one pass over the row's output. Weights thus stay below
 * e^8 ≈ 2,981: within f16, and as precise as e^(s − max), since floating point is relative. Whether any score exceeds is a vote, not a
 * reduction; sums stay in the lanes until the end.
 * @see FlashDecoding++ (Hong et al. 2023) part 1, asynchronous softmax with a unified maximum. Differs: the reference is a row's own
 * and follows its scores, so none is calibrated, none overflows and nothing is ever computed again.
 */
export function attentionMmaPrelude (headDim: number): string {
  return `
override NUM_KV_HEADS: u32;
override BLOCK_SIZE: u32;
override WINDOW: u32;    // keys a query sees, itself included; 0: all before it
override SOFTCAP: f32;
const LOWEST = -3.4028234e38;
const UNSET = -1e30;      // a reference before the first score: far below any, far above LOWEST
const HEADROOM = 8.0;
const HALVES = ${headDim / 8}u;   // vectors of 8 halves in a head

/** Vector index of a key; its value lies value_offset() further. */
fn key_vector(table: u32, j: u32, head: u32) -> u32 {
  return ((table_entry(table, j / BLOCK_SIZE) * 2u * NUM_KV_HEADS + head) * BLOCK_SIZE + j % BLOCK_SIZE) * HALVES;
}
fn value_offset() -> u32 { return NUM_KV_HEADS * BLOCK_SIZE * HALVES; }

/** The first key a query at this position sees. */
fn window_start(position: u32) -> u32 {
  return select(0u, max(position + 1u, WINDOW) - WINDOW, WINDOW > 0u);
}

/** c · tanh(s / c). Beyond 10 tanh is 1 in f32, and some drivers overflow. */
fn capped(s: vec4<f32>) -> vec4<f32> {
  return SOFTCAP * tanh(clamp(s / SOFTCAP, vec4<f32>(-10.0), vec4<f32>(10.0)));
}

/** Scores of keys j to j + 3, those outside [unseen, visible) lowered so far that their weight is zero. */
fn seen(s: vec4<f32>, j: u32, unseen: u32, visible: u32) -> vec4<f32> {
  let at = vec4<u32>(j, j + 1u, j + 2u, j + 3u);
  return select(vec4<f32>(LOWEST), s, (at >= vec4<u32>(unseen)) & (at < vec4<u32>(visible)));
}
`
}

/** What splits and prefixes are multiples of: keys that are staged at a time or half of them, and a multiple of what a subgroup attends at a time. */
export const attentionMmaRun = 32
