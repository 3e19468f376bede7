/**
 * The order in which attention adds up, shared by all its kernels so that they give the same bits:
 *
 * 1. Keys are taken in splits of 128 by absolute position, from the first that holds a key of the window. A score is a chain of fma
 *    over d ascending, then soft-capped; m is the maximum over the keys of the split the query may see; p = e^(s−m), or 0 for a
 *    key outside the window.
 * 2. Within a split, runs of 32 keys: l and o of a run are chains over its keys ascending, from zero; the runs' sums are added
 *    ascending to a zero.
 * 3. Splits are merged ascending: M' = max(M, m), O' = fma(O, e^(M−M'), o·e^(m−M')), L' likewise.
 *
 * Nothing here depends on how many queries are attended at once or where a prompt was cut, so a row's bits do not either.
 */
export const attentionSplit = 128
export const attentionRun = 32
export const attentionOverrides = ['NUM_KV_HEADS', 'BLOCK_SIZE', 'WINDOW', 'SOFTCAP'] as const

export interface AttentionShape {
  readonly headDim: number
  /** Query heads per KV head. */
  readonly group: number
  /** Threads in a workgroup: at least headDim / 4, and 64 or 128 in the tile form. */
  readonly threads: number
  /** Scores are soft-capped. In the text and not an override: a call for each score of an unrolled tile costs compilers minutes. */
  readonly capped: boolean
  /** Keeps the loop over a head's dimensions a loop (see FmaShape in fma-matmul.ts). */
  readonly rolled: boolean
}

/** A score as it is stored. */
export function storedScore ({ capped }: AttentionShape, score: string): string {
  return capped ? `capped(${score})` : score
}

/** The number of vectors in a head, as loops over them are bounded. */
export function vectorBound ({ rolled }: AttentionShape): string {
  return rolled ? 'VECTORS + step_zero()' : 'VECTORS'
}

/** Where row r's query stands when rows are consecutive tokens, the first at `first_position`; rows past the last repeat it. */
const CONSECUTIVE = 'first_position + min(r / GROUP, last_row_token)'

/**
 * Declarations and functions every attention kernel has; `rows` query rows a workgroup.
 * @param position of row r's query, as an expression of r, `first_position` and `last_row_token`
 */
export function attentionPrelude (shape: AttentionShape, rows: number, position = CONSECUTIVE): string {
  return `
override NUM_KV_HEADS: u32;
override BLOCK_SIZE: u32;
override WINDOW: u32;    // keys a query sees, itself included; 0: all before it
override SOFTCAP: f32;
const VECTORS = ${shape.headDim / 4}u;
const SPLIT = ${attentionSplit}u;
const RUN = ${attentionRun}u;
const THREADS = ${shape.threads}u;
const ROWS = ${rows}u;
const GROUP = ${shape.group}u;
const LOWEST = -3.4028234e38;
var<workgroup> queries: array<vec4<f32>, ${rows * shape.headDim / 4}>;
// Scalars: threads write neighbouring keys, and WGSL lets an implementation write one component by rewriting the whole vector.
var<workgroup> scores: array<f32, ${rows * attentionSplit}>;             // [row][key]
var<workgroup> maxima: array<f32, ${rows * 8}>;
var<workgroup> row_max: array<f32, ${rows}>;
var<workgroup> block_base: array<u32, ${attentionSplit}>;                // vector index of slot 0 of each block of the split, keys

/** Looks the split's blocks up once. */
fn find_blocks(table: u32, start: u32, keys: u32, head: u32, thread: u32) {
  let first = start / BLOCK_SIZE;
  let last = (start + keys - 1u) / BLOCK_SIZE;
  for (var b = first + thread; b <= last; b += THREADS) {
    block_base[b - first] = (table_entry(table, b) * 2u * NUM_KV_HEADS + head) * BLOCK_SIZE * VECTORS;
  }
}

/** Vector index of key j of the split; its value lies VALUE_OFFSET further. */
fn key_vector(start: u32, j: u32) -> u32 {
  let at = start % BLOCK_SIZE + j;
  return block_base[at / BLOCK_SIZE] + (at % BLOCK_SIZE) * VECTORS;
}
fn value_offset() -> u32 { return NUM_KV_HEADS * BLOCK_SIZE * VECTORS; }

/** c · tanh(s / c). Beyond 10 tanh is 1 in f32, and some drivers overflow. */
fn capped(score: f32) -> f32 {
  return SOFTCAP * tanh(clamp(score / SOFTCAP, -10.0, 10.0));
}

/** The first key a query at this position sees. */
fn window_start(position: u32) -> u32 {
  return select(0u, max(position + 1u, WINDOW) - WINDOW, WINDOW > 0u);
}

/** Turns a split's scores into e^(s - m) and leaves m in row_max; row r sees the keys from hidden_keys(r) to visible_keys(r). Barriers inside. */
fn softmax_in_place(keys: u32, first_position: u32, last_row_token: u32, start: u32, thread: u32) {
  workgroupBarrier();
  for (var i = thread; i < ROWS * 8u; i += THREADS) {
    let r = i >> 3u;
    let visible = visible_keys(r, keys, first_position, last_row_token, start);
    let hidden = hidden_keys(r, first_position, last_row_token, start);
    var top = LOWEST;
    for (var j = hidden + (i & 7u); j < visible; j += 8u) { top = max(top, scores[r * SPLIT + j]); }
    maxima[i] = top;
  }
  workgroupBarrier();
  for (var r = thread; r < ROWS; r += THREADS) {
    var top = maxima[r * 8u];
    for (var t = 1u; t < 8u; t++) { top = max(top, maxima[r * 8u + t]); }
    row_max[r] = top;
  }
  workgroupBarrier();
  for (var i = thread; i < ROWS * SPLIT; i += THREADS) {
    let r = i / SPLIT;
    let j = i % SPLIT;
    if (j < keys) {
      let seen = j >= hidden_keys(r, first_position, last_row_token, start) && j < visible_keys(r, keys, first_position, last_row_token, start);
      scores[i] = select(0.0, exp(scores[i] - row_max[r]), seen);
    }
  }
  workgroupBarrier();
}

/** Keys of the split at or before the query of row r. */
fn visible_keys(r: u32, keys: u32, first_position: u32, last_row_token: u32, start: u32) -> u32 {
  return min(keys, max(${position} + 1u, start) - start);
}

/** Keys at the beginning of the split that lie before the window of row r's query; may exceed the split. */
fn hidden_keys(r: u32, first_position: u32, last_row_token: u32, start: u32) -> u32 {
  return max(window_start(${position}), start) - start;
}
`
}
