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

/** What splits and prefixes are multiples of: keys a subgroup attends at a time where queries are the columns of a tile, one a lane, and a multiple of what it does elsewhere. */
export const attentionMmaRun = 32

/** A subgroup's f32 in workgroup memory there: scores of 32 keys, rows of 20, and later its outputs. */
export function stageFloats (headDim: number): number {
  return Math.max(32 * 20, 16 * headDim)
}

/** A lane's score or weight of column h: components of vectors p_0 and on. */
export function columnOf (h: number): string {
  return `p_${h >> 2}.${'xyzw'[h & 3] ?? ''}`
}

/** The statements that store a lane's weights of `columns` columns as a row of f16 from `at` on; those past them are zero, and of the second vector written only if it has any. */
export function storeWeights (columns: number, at: string): string {
  const weight = (h: number): string => h < columns ? columnOf(h) : '0.0'
  const pair = (h: number): string => `pack2x16float(vec2<f32>(${weight(h)}, ${weight(h + 1)}))`
  const vector = (h: number): string => `vec4<u32>(${[0, 2, 4, 6].map(n => pair(h + n)).join(', ')})`
  return `weights[${at}] = ${vector(0)};${columns > 8 ? `\n    weights[${at} + 1u] = ${vector(8)};` : ''}`
}
