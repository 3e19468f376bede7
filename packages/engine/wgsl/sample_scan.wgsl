// sample_scan — of each part of a row: its largest value and id, Σ e^((v − largest)/T), maxima, bins      one workgroup per (part, row)
//   value = penalised(l + bias), written to `adjusted` where it is no logit and a token is drawn from it
// A thread owns chunks of 16 tokens. It weighs each against its own largest value, so that it need not wait for the part's; where it
// owns but one, its tokens stay in registers for the bins.
override THREADS: u32;
@group(0) @binding(2) var<storage, read> counts: array<vec4<u32>>;              // [state row][VOCAB]: bit 31 in the prompt, low bits generated
@group(0) @binding(3) var<storage, read_write> adjusted: array<vec4<f32>>;      // [logit row][PARTS · PART]
@group(0) @binding(4) var<storage, read_write> scan: array<u32>;                // sample_row.wgsl

const MAX_BIASES = 1024u;
var<workgroup> pool: array<atomic<u32>, 2u * MAX_BIASES>;   // biases of this part, as (id, value); later its bins
var<workgroup> num_biases: atomic<u32>;
var<workgroup> lowest_id: atomic<u32>;

/** How often each of a chunk's tokens came. */
struct Counts { a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32> }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let part = wg.x;
  let row = wg.y;
  if (row >= num_logit_rows()) { return; }
  let request = read_request(row);
  let changed = is_changed(request);
  let searched = is_cut(request) || request.num_top > 0u;
  let first = part * PART;
  if (request.bias_count > 0u) { collect_biases(request, first, thread); }

  let inverse = inverse_temperature(request);
  let weighed = is_weighed(request);
  let with_logprobs = (request.flags & LOGPROBS) != 0u;
  var largest = LOWEST;
  var largest_id = NONE;
  var sum = 0.0;
  var largest_raw = LOWEST;
  var raw_sum = 0.0;
  var chunk: Chunk;
  for (var id = first + 16u * thread; id < first + PART; id += 16u * THREADS) {
    chunk = value_chunk(row, id, 4u, false);
    if (with_logprobs) {
      let here = chunk_max(chunk);
      raw_sum = added(raw_sum, largest_raw, max(largest_raw, here), chunk, 1.0);
      largest_raw = max(largest_raw, here);
      if (changed && searched) { scan[maxima_word(row, true) + id / 16u] = bitcast<u32>(here); }
    }
    if (changed) {
      if (request.bias_count > 0u) { chunk = biased(id, chunk); }
      if ((request.flags & PENALTIES) != 0u) { chunk = penalised(request, id, chunk); }
      chunk = finished(request, row, id, chunk);
    }
    let here = chunk_max(chunk);
    if (searched) { scan[maxima_word(row, false) + id / 16u] = bitcast<u32>(here); }
    if (weighed) { sum = added(sum, largest, max(largest, here), chunk, inverse); }
    if (here > largest) {
      largest = here;
      largest_id = first_in(chunk, here, id);
    }
  }
  if (thread == 0u) { atomicStore(&lowest_id, NONE); }
  let top = workgroup_max(largest, thread, THREADS);
  if (largest == top) { atomicMin(&lowest_id, largest_id); }

  // Every thread has left the biases behind; the sum's barriers stand between these zeros and what is added to them.
  let binned = is_binned(request);
  if (binned) { for (var b = thread; b < BINS; b += THREADS) { atomicStore(&pool[b], 0u); } }
  var raw_top = top;
  var sums = vec2<f32>();
  if (weighed) { sums.x = workgroup_sum(sum * exp((largest - top) * inverse), thread, THREADS); }
  if (with_logprobs) {
    if (changed) { raw_top = workgroup_max(largest_raw, thread, THREADS); }
    sums.y = workgroup_sum(raw_sum * exp(largest_raw - raw_top), thread, THREADS);
  }
  if (binned) {
    let grid = bin_grid(request);
    let top_bits = bin_bits(bin_place(vec4<f32>(top), grid));
    for (var id = first + 16u * thread; id < first + PART; id += 16u * THREADS) {
      if (16u * THREADS < PART) { chunk = value_chunk(row, id, 4u, changed); }
      add_to_bins(chunk, grid, top_bits);
    }
  }
  workgroupBarrier();
  if (binned) { for (var b = thread; b < BINS; b += THREADS) { scan[bins_word(row, part) + b] = atomicLoad(&pool[b]); } }
  if (thread == 0u) {
    let record = record_word(row, part);
    scan[record] = bitcast<u32>(top);
    scan[record + 1u] = bitcast<u32>(sums.x);
    scan[record + 2u] = bitcast<u32>(raw_top);
    scan[record + 3u] = bitcast<u32>(sums.y);
    scan[record + 4u] = atomicLoad(&lowest_id);
  }
}

/** Keeps the biases of this part's tokens in workgroup memory. A token is biased once, so their order does not matter. */
fn collect_biases(request: Request, first: u32, thread: u32) {
  if (thread == 0u) { atomicStore(&num_biases, 0u); }
  workgroupBarrier();
  for (var b = thread; b < request.bias_count; b += THREADS) {
    let id = step_word(request.bias_at + 2u * b);
    if (id >= first && id < first + PART) {
      let slot = min(atomicAdd(&num_biases, 1u), MAX_BIASES - 1u);
      atomicStore(&pool[2u * slot], id);
      atomicStore(&pool[2u * slot + 1u], step_word(request.bias_at + 2u * b + 1u));
    }
  }
  workgroupBarrier();
}

/** Biases first, then penalties, as vLLM does. */
fn biased(id: u32, logits: Chunk) -> Chunk {
  var chunk = logits;
  for (var i = id + rolled(); i < id + 16u; i += 4u) {
    var quad = chunk.a;
    for (var b = 0u; b < atomicLoad(&num_biases); b++) {
      let bias = bitcast<f32>(atomicLoad(&pool[2u * b + 1u]));
      quad += select(vec4<f32>(), vec4<f32>(bias), LANES + i == vec4<u32>(atomicLoad(&pool[2u * b])));
    }
    chunk = moved_up(chunk, quad);
  }
  return chunk;
}

fn penalised(request: Request, id: u32, values: Chunk) -> Chunk {
  var chunk = values;
  var counted: Counts;
  if (ROLLED == 0u) { counted = count_chunk(request, id); }
  for (var i = rolled(); i < 4u; i++) {
    if (ROLLED != 0u) { counted.a = count_quad(request, id + 4u * i); }
    chunk = moved_up(chunk, penalised_quad(request, chunk.a, counted.a));
    counted = Counts(counted.b, counted.c, counted.d, counted.a);
  }
  return chunk;
}

fn penalised_quad(request: Request, value: vec4<f32>, count: vec4<u32>) -> vec4<f32> {
  let repeated = select(value * request.repetition, value / request.repetition, value > vec4<f32>());
  let v = select(value, repeated, count != vec4<u32>());
  let generated = count & vec4<u32>(0x7fffffffu);
  return v - select(vec4<f32>(), vec4<f32>(request.presence) + request.frequency * vec4<f32>(generated), generated > vec4<u32>());
}

/** Cleaned, and stored where the row is drawn from: nothing else is read again. */
fn finished(request: Request, row: u32, id: u32, values: Chunk) -> Chunk {
  var chunk = values;
  for (var i = id + rolled(); i < id + 16u; i += 4u) {
    let quad = cleaned(chunk.a);
    if (is_drawn(request)) { adjusted[(row * PARTS * PART + i) >> 2u] = quad; }
    chunk = moved_up(chunk, quad);
  }
  return chunk;
}

/** No load waits for another, nor for the logits. */
fn count_chunk(request: Request, id: u32) -> Counts {
  return Counts(count_quad(request, id), count_quad(request, id + 4u), count_quad(request, id + 8u), count_quad(request, id + 12u));
}

/** Four counts from `id` on; those behind the vocabulary are 0. */
fn count_quad(request: Request, id: u32) -> vec4<u32> {
  if (VOCAB % 4u == 0u) { return select(vec4<u32>(), counts[(request.state_row * VOCAB + min(id, VOCAB - 4u)) >> 2u], id < VOCAB); }
  if (id >= VOCAB) { return vec4<u32>(); }
  let at = request.state_row * VOCAB + id;
  let last = vec4<u32>(VOCAB - 1u - id);
  let each = vec4<u32>(at) + min(LANES, last);
  let quad = vec4<u32>(
    counts[each.x >> 2u][each.x & 3u], counts[each.y >> 2u][each.y & 3u],
    counts[each.z >> 2u][each.z & 3u], counts[each.w >> 2u][each.w & 3u]);
  return select(vec4<u32>(), quad, LANES <= last);
}

fn first_in(chunk: Chunk, value: f32, id: u32) -> u32 {
  let none = vec4<u32>(16u);
  let at = min(
    min(select(none, LANES, chunk.a == vec4<f32>(value)), select(none, LANES + 4u, chunk.b == vec4<f32>(value))),
    min(select(none, LANES + 8u, chunk.c == vec4<f32>(value)), select(none, LANES + 12u, chunk.d == vec4<f32>(value))));
  return id + min(min(at.x, at.y), min(at.z, at.w));
}

/** Σ e^((v − largest) · inverse) of the tokens so far, whose largest was `before`, and of one more chunk. */
fn added(sum: f32, before: f32, largest: f32, more: Chunk, inverse: f32) -> f32 {
  var chunk = more;
  var quad = vec4<f32>();
  for (var i = rolled(); i < 4u; i++) {
    quad += exp((chunk.a - largest) * inverse);
    chunk = moved_up(chunk, chunk.a);
  }
  return sum * exp((before - largest) * inverse) + dot(quad, vec4<f32>(1.0));
}

/** Each token's mass into its bin, unless that lies too far below the part's highest one. */
fn add_to_bins(tokens: Chunk, grid: f32, top_bits: vec4<u32>) {
  var chunk = tokens;
  for (var i = rolled(); i < 4u; i++) {
    let place = bin_place(chunk.a, grid);
    chunk = moved_up(chunk, chunk.a);
    let bits = bin_bits(place);
    // 2^(distance / 24), at most half a bin from its middle, as a line: these masses only say where to look. Rounded as bins are.
    let slope = BIN_ONE * 0.6931472 / BINS_PER_OCTAVE;
    let units = bitcast<vec4<u32>>((place - bin_middle(bits)) * slope + (BIN_ONE + ROUNDER)) - vec4<u32>(0x4b400000u);
    let at = bits & vec4<u32>(BINS - 1u);
    let inside = top_bits - bits < vec4<u32>(BINS);
    if (inside.x) { atomicAdd(&pool[at.x], units.x); }
    if (inside.y) { atomicAdd(&pool[at.y], units.y); }
    if (inside.z) { atomicAdd(&pool[at.z], units.z); }
    if (inside.w) { atomicAdd(&pool[at.w], units.w); }
  }
}
