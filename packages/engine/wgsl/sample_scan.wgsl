// sample_scan — of each part of a row: its largest value and id, Σ e^((v − largest)/T), maxima, bins      one workgroup per (part, row)
//   value = penalised(l + bias), written to `adjusted` only where there are biases or penalties; elsewhere it is the logit itself
// A thread owns chunks of 16 tokens, and reads them again instead of keeping them: they are in the cache closest to it.
override THREADS: u32;
@group(0) @binding(2) var<storage, read> counts: array<vec4<u32>>;              // [state row][VOCAB]: bit 31 in the prompt, low bits generated
@group(0) @binding(3) var<storage, read_write> adjusted: array<vec4<f32>>;      // [logit row][PARTS · PART]
@group(0) @binding(4) var<storage, read_write> scan: array<u32>;                // sample_row.wgsl

const MAX_BIASES = 1024u;
var<workgroup> pool: array<atomic<u32>, 2u * MAX_BIASES>;   // biases of this part, as (id, value); later its bins
var<workgroup> num_biases: atomic<u32>;
var<workgroup> lowest_id: atomic<u32>;

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

  var largest = LOWEST;
  var largest_id = NONE;
  var largest_raw = LOWEST;
  for (var id = first + 16u * thread; id < first + PART; id += 16u * THREADS) {
    var chunk = value_chunk(row, id, false);
    if (changed) {
      let raw = chunk_max(chunk);
      largest_raw = max(largest_raw, raw);
      if (searched) { scan[maxima_word(row, true) + id / 16u] = bitcast<u32>(raw); }
      chunk = adjust(request, row, id, chunk);
    }
    let here = chunk_max(chunk);
    if (searched) { scan[maxima_word(row, false) + id / 16u] = bitcast<u32>(here); }
    if (here > largest) {
      largest = here;
      largest_id = first_in(chunk, here, id);
    }
  }
  if (thread == 0u) { atomicStore(&lowest_id, NONE); }
  let top = workgroup_max(largest, thread, THREADS);
  if (largest == top) { atomicMin(&lowest_id, largest_id); }

  var raw_top = top;
  var sums = vec2<f32>();
  if ((request.flags & LOGPROBS) != 0u || is_weighed(request)) {
    if (changed) { raw_top = workgroup_max(largest_raw, thread, THREADS); }
    for (var b = thread; b < BINS; b += THREADS) { atomicStore(&pool[b], 0u); }
    workgroupBarrier();
    let own = weigh(request, row, first, thread, top, raw_top);
    sums = vec2<f32>(workgroup_sum(own.x, thread, THREADS), workgroup_sum(own.y, thread, THREADS));
    if (is_binned(request)) {
      for (var b = thread; b < BINS; b += THREADS) { scan[bins_word(row, part) + b] = atomicLoad(&pool[b]); }
    }
  }
  workgroupBarrier();
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

/** Bias, then penalties, as vLLM does; the result is stored, too. */
fn adjust(request: Request, row: u32, id: u32, logits: Chunk) -> Chunk {
  var chunk = logits;
  for (var i = id; i < id + 16u + rolled(); i += 4u) {
    var quad = chunk.a;
    if (request.bias_count > 0u) {
      for (var b = 0u; b < atomicLoad(&num_biases); b++) {
        let bias = bitcast<f32>(atomicLoad(&pool[2u * b + 1u]));
        quad += select(vec4<f32>(), vec4<f32>(bias), LANES + i == vec4<u32>(atomicLoad(&pool[2u * b])));
      }
    }
    if ((request.flags & PENALTIES) != 0u) { quad = penalised(request, quad, count_quad(request, i)); }
    quad = cleaned(quad);
    adjusted[(row * PARTS * PART + i) >> 2u] = quad;
    chunk = moved_up(chunk, quad);
  }
  return chunk;
}

fn penalised(request: Request, value: vec4<f32>, count: vec4<u32>) -> vec4<f32> {
  let repeated = select(value * request.repetition, value / request.repetition, value > vec4<f32>());
  let v = select(value, repeated, count != vec4<u32>());
  let generated = count & vec4<u32>(0x7fffffffu);
  return v - select(vec4<f32>(), vec4<f32>(request.presence) + request.frequency * vec4<f32>(generated), generated > vec4<u32>());
}

/** Four counts from `id` on; those behind the vocabulary are 0. */
fn count_quad(request: Request, id: u32) -> vec4<u32> {
  if (id >= VOCAB) { return vec4<u32>(); }
  let at = request.state_row * VOCAB + id;
  if (VOCAB % 4u == 0u) { return counts[at >> 2u]; }
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

/** This thread's share of Σ e^((v − top)/T) and of Σ e^(l − raw_top); and its tokens' masses into the bins, if those are asked for. */
fn weigh(request: Request, row: u32, first: u32, thread: u32, top: f32, raw_top: f32) -> vec2<f32> {
  let changed = is_changed(request);
  let inverse = inverse_temperature(request);
  let grid = bin_grid(request);
  let top_bin = vec4<f32>(floor(top * grid));
  let binned = is_binned(request);
  var sum = vec4<f32>();
  var raw_sum = vec4<f32>();
  for (var chunk = first + 16u * thread; chunk < first + PART; chunk += 16u * THREADS) {
    for (var id = chunk; id < chunk + 16u + rolled(); id += 4u) {
      let raw = logit_quad(row, id);
      var quad = raw;
      if (changed) { quad = cleaned(adjusted[(row * PARTS * PART + id) >> 2u]); }
      if ((request.flags & LOGPROBS) != 0u) { raw_sum += exp(raw - raw_top); }
      if (is_weighed(request)) { sum += exp((quad - top) * inverse); }
      if (binned) {
        let bin = floor(quad * grid);
        let inside = top_bin - bin < vec4<f32>(f32(BINS));
        // 2^(fraction / 24) by its series: these masses only say where to look.
        let x = (quad * grid - bin) * (0.6931472 / BINS_PER_OCTAVE);
        let units = vec4<u32>((1.0 + x + 0.5 * x * x) * BIN_ONE + 0.5);
        let at = bitcast<vec4<u32>>(vec4<i32>(bin)) & vec4<u32>(BINS - 1u);
        if (inside.x) { atomicAdd(&pool[at.x], units.x); }
        if (inside.y) { atomicAdd(&pool[at.y], units.y); }
        if (inside.z) { atomicAdd(&pool[at.z], units.z); }
        if (inside.w) { atomicAdd(&pool[at.w], units.w); }
      }
    }
  }
  return vec2<f32>(dot(sum, vec4<f32>(1.0)), dot(raw_sum, vec4<f32>(1.0)));
}
