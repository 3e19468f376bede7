// sample_row — one logit row as sample_scan and sample_choose see it: what is asked of it, its values, where `scan` keeps what
override VOCAB: u32;
override PART: u32;    // tokens a workgroup of sample_scan covers; a multiple of 64
override PARTS: u32;   // ceil(VOCAB / PART)
override ROLLED: u32;  // 1 where unrolled loops cost more in compiling than they save: on software adapters
@group(0) @binding(0) var<storage, read> logits: array<vec4<f32>>;   // [logit row][VOCAB]; a row may begin anywhere in a vector
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;

const SCORE = 1u;        // flags of logit_record part 0
const PENALTIES = 2u;
const LOGPROBS = 4u;
const NONE = 0xffffffffu;
const HIGHEST = 3.4028234e38;    // above every value
const LOWEST = -3.4028234e38;    // the value of what must never be chosen: −∞, NaN, ids behind the vocabulary
const LEAST = -3.4e38;           // below every value that may be chosen
const LANES = vec4<u32>(0u, 1u, 2u, 3u);

// Bins of mass are 1/24 of a doubling wide and lie on one grid for all parts of a row: bin = round(value · grid). A part keeps
// the 512 below its largest value, each at its index modulo 512, in units of 1/BIN_ONE of the mass in the bin's middle.
const BINS = 512u;
const BINS_PER_OCTAVE = 24.0;
const BIN_ONE = 8192.0;
const ROUNDER = 12582912.0;       // 1.5 · 2^23: a float with a smaller number added to it ends in that number, rounded
// What lies above is put here: values over 60,000 at a temperature of 1. Bins only say where to look: what they tell wrong, there or far
// below, costs a walk over the row.
const FARTHEST_BIN = 2097152.0;

/**
 * 0, where a loop begins that is to stay a loop where ROLLED. Added to its bound it would not do: Mesa then takes the length of an
 * array that the loop walks along for its bound.
 */
fn rolled() -> u32 {
  if (ROLLED == 0u) { return 0u; }
  return step_zero();
}

struct Request {
  state_row: u32, flags: u32, scored: u32,
  temperature: f32, top_p: f32, min_p: f32, top_k: u32,
  presence: f32, frequency: f32, repetition: f32,
  bias_at: u32, bias_count: u32,     // word index in the step buffer
  seed: u32, position: u32, num_top: u32,
}

/** Sixteen consecutive tokens. */
struct Chunk { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

fn read_request(row: u32) -> Request {
  let head = logit_record(row, 0u);
  let shape = logit_record(row, 1u);
  let penalties = logit_record(row, 2u);
  let more = logit_record(row, 3u);
  return Request(
    head.y, head.z, head.w,
    bitcast<f32>(shape.x), bitcast<f32>(shape.y), bitcast<f32>(shape.z), select(0u, more.z, more.z < VOCAB),
    bitcast<f32>(penalties.x), bitcast<f32>(penalties.y), bitcast<f32>(penalties.z),
    step[2].y + shape.w, penalties.w,
    more.x, more.y, more.w);
}

/** Whether the row is chosen from other values than its logits. */
fn is_changed(request: Request) -> bool {
  return (request.flags & SCORE) == 0u && (request.bias_count > 0u || (request.flags & PENALTIES) != 0u);
}

fn is_drawn(request: Request) -> bool { return (request.flags & SCORE) == 0u && request.temperature > 0.0; }

/** Whether only some tokens may be drawn. */
fn is_cut(request: Request) -> bool { return is_drawn(request) && (request.top_k > 0u || request.min_p > 0.0 || request.top_p < 1.0); }
/** Whether masses are of the whole row, and not of what top-k or min-p leave: then sample_scan adds them up, for top-p in bins, too. */
fn is_weighed(request: Request) -> bool { return is_drawn(request) && request.top_k == 0u && request.min_p <= 0.0; }
fn is_binned(request: Request) -> bool { return is_weighed(request) && request.top_p < 1.0; }

/** The smallest temperatures have no finite inverse, and infinity times the best token's zero is NaN. */
fn inverse_temperature(request: Request) -> f32 { return 1.0 / max(request.temperature, 1e-30); }
fn bin_grid(request: Request) -> f32 { return inverse_temperature(request) * (BINS_PER_OCTAVE * 1.442695041); }

fn bin_place(quad: vec4<f32>, grid: f32) -> vec4<f32> { return min(quad * grid, vec4<f32>(FARTHEST_BIN)); }
/** Bins with 0x4b400000 added: rounding and converting instructions have a quarter of an addition's rate or less. */
fn bin_bits(place: vec4<f32>) -> vec4<u32> { return bitcast<vec4<u32>>(place + ROUNDER); }
/** The bins as floats. Without the two masks, which change nothing, a compiler may find that nothing was to be rounded. */
fn bin_middle(bits: vec4<u32>) -> vec4<f32> { return bitcast<vec4<f32>>((bits & vec4<u32>(0x7fffffu)) | vec4<u32>(0x4b000000u)) - ROUNDER; }

fn cleaned(quad: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), min(quad, vec4<f32>(-LEAST)), quad > vec4<f32>(LEAST));
}

/** Four logits from `id` on, which is a multiple of 4. */
fn logit_quad(row: u32, id: u32) -> vec4<f32> {
  if (VOCAB % 4u == 0u) {
    return select(vec4<f32>(LOWEST), cleaned(logits[(row * VOCAB + min(id, VOCAB - 4u)) >> 2u]), id < VOCAB);
  }
  if (id >= VOCAB) { return vec4<f32>(LOWEST); }
  let at = row * VOCAB + id;
  let last = vec4<u32>(VOCAB - 1u - id);
  let each = vec4<u32>(at) + min(LANES, last);
  let quad = vec4<f32>(
    logits[each.x >> 2u][each.x & 3u], logits[each.y >> 2u][each.y & 3u],
    logits[each.z >> 2u][each.z & 3u], logits[each.w >> 2u][each.w & 3u]);
  return select(vec4<f32>(LOWEST), cleaned(quad), LANES <= last);
}

/** Four values: logits, or what sample_scan has made of them. Behind the row's end, none, or its last again. */
fn value_quad(row: u32, id: u32, changed: bool) -> vec4<f32> {
  if (changed) { return cleaned(adjusted[(row * PARTS * PART + min(id, PARTS * PART - 4u)) >> 2u]); }
  return logit_quad(row, id);
}

/** Sixteen values: four quads, each so many tokens behind the one before. All four are loaded before the first is used. */
fn value_chunk(row: u32, id: u32, stride: u32, changed: bool) -> Chunk {
  if (ROLLED == 0u && changed) { return Chunk(value_quad(row, id, true), value_quad(row, id + stride, true), value_quad(row, id + 2u * stride, true), value_quad(row, id + 3u * stride, true)); }
  if (ROLLED == 0u) { return Chunk(logit_quad(row, id), logit_quad(row, id + stride), logit_quad(row, id + 2u * stride), logit_quad(row, id + 3u * stride)); }
  var chunk: Chunk;
  for (var i = rolled(); i < 4u; i++) { chunk = moved_up(chunk, value_quad(row, id + stride * i, changed)); }
  return chunk;
}

/** Loops take a chunk's front and move it up: what is indexed by a loop's variable would leave the registers. */
fn moved_up(chunk: Chunk, last: vec4<f32>) -> Chunk { return Chunk(chunk.b, chunk.c, chunk.d, last); }

fn quad_max(quad: vec4<f32>) -> f32 { return max(max(quad.x, quad.y), max(quad.z, quad.w)); }
fn chunk_max(chunk: Chunk) -> f32 { return quad_max(max(max(chunk.a, chunk.b), max(chunk.c, chunk.d))); }

// Words of `scan`, row by row: a record of each part (largest value, Σ e^((v − largest)/T), largest logit, Σ e^(l − largest), lowest
// id of the largest value), the maximum of every chunk of values, the same of raw logits where those differ, bins.
const RECORD = 8u;
fn row_word(row: u32) -> u32 { return row * PARTS * (RECORD + PART / 8u + BINS); }
fn record_word(row: u32, part: u32) -> u32 { return row_word(row) + part * RECORD; }
fn maxima_word(row: u32, raw: bool) -> u32 { return row_word(row) + PARTS * (RECORD + select(0u, PART / 16u, raw)); }
fn bins_word(row: u32, part: u32) -> u32 { return row_word(row) + PARTS * (RECORD + PART / 8u) + part * BINS; }
