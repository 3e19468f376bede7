// sample — one token (or one score) per logit row, drawn on the GPU                                   one workgroup per logit row
//   raw logprob = l − max − log Σ e^(l − max), of the logits before any change (vLLM's raw_logprobs)
//   adjusted    = penalties(l + bias); then temperature, min-p, top-k, top-p each cut a lower set; ties at a cut are all kept
//   draw        = inverse CDF in id order over fixed-point masses: integer sums do not depend on the order of threads
// The random number is a hash of (seed, position) alone, so a replayed sequence draws the same token.
override VOCAB: u32;
override THREADS: u32;
override RESULT_WORDS: u32;   // 4 + 2 · 20
@group(0) @binding(0) var<storage, read> logits: array<f32>;              // [logit row][VOCAB]
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> adjusted: array<f32>;      // [logit row][VOCAB], scratch
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;        // [state row][VOCAB]: bit 31 in the prompt, low bits generated
@group(0) @binding(4) var<storage, read_write> sampled: array<u32>;       // [state row] the token fed to the next step
@group(0) @binding(5) var<storage, read_write> results: array<u32>;       // [logit row][RESULT_WORDS]

const SCORE = 1u;        // flags of logit_record part 0
const PENALTIES = 2u;
const LOGPROBS = 4u;
const NONE = 0xffffffffu;
const LOWEST = -3.4028234e38;
const MASS_ONE = 1073741824.0;   // 2^30: the fixed-point mass of probability 1

var<workgroup> best_value: array<f32, THREADS>;
var<workgroup> best_index: array<u32, THREADS>;
var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> chosen_bin: u32;
var<workgroup> mass_above: u32;

/** Order of floats as unsigned integers. */
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) == 1u);
}

/** Larger value first, then the smaller id. */
fn comes_first(value: f32, index: u32, than_value: f32, than_index: u32) -> bool {
  return value > than_value || (value == than_value && index < than_index);
}

/** Reduces each thread's candidate to the workgroup's first one. Barriers inside: call uniformly. */
fn first_of_workgroup(value: f32, index: u32, thread: u32) -> vec2<u32> {
  workgroupBarrier();
  best_value[thread] = value;
  best_index[thread] = index;
  for (var half = THREADS >> 1u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (thread < half && comes_first(best_value[thread + half], best_index[thread + half], best_value[thread], best_index[thread])) {
      best_value[thread] = best_value[thread + half];
      best_index[thread] = best_index[thread + half];
    }
  }
  workgroupBarrier();
  return vec2<u32>(bitcast<u32>(best_value[0]), best_index[0]);
}

fn penalised(value: f32, count: u32, penalties: vec4<f32>) -> f32 {
  var v = value;
  if (count != 0u) { v = select(v * penalties.z, v / penalties.z, v > 0.0); }
  let generated = count & 0x7fffffffu;
  if (generated > 0u) { v -= penalties.x + penalties.y * f32(generated); }
  return v;
}

/** murmur3's finaliser over the counter (seed, position), twice so that neighbouring positions share nothing. */
fn random_u32(seed: u32, position: u32) -> u32 {
  var h = seed ^ (position * 0x9e3779b1u);
  for (var round = 0u; round < 2u; round++) {
    h = (h ^ (h >> 16u)) * 0x85ebca6bu;
    h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
    h = h ^ (h >> 16u) ^ position;
  }
  return h;
}

/** Fixed-point probability of one adjusted logit. */
fn mass_of(value: f32, top: f32, inverse_temperature: f32, total: f32) -> u32 {
  return u32(exp((value - top) * inverse_temperature) / total * MASS_ONE + 0.5);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = wg.x;
  if (row >= num_logit_rows()) { return; }
  let head = logit_record(row, 0u);            // hidden row, state row, flags, target of a score
  let shape = bitcast<vec4<f32>>(logit_record(row, 1u));   // temperature, top-p, min-p, bias list (a word index)
  let penalties = bitcast<vec4<f32>>(logit_record(row, 2u));   // presence, frequency, repetition, bias count
  let more = logit_record(row, 3u);            // seed, position, top-k, number of top logprobs
  let seed = more.x;
  let position = more.y;
  let top_k = more.z;
  let num_top = more.w;
  let bias_at = logit_record(row, 1u).w;
  let bias_count = logit_record(row, 2u).w;
  let base = row * VOCAB;
  let result = row * RESULT_WORDS;

  // Raw log-probabilities, before anything changes.
  var raw_top = 0.0;
  var raw_log_sum = 0.0;
  if ((head.z & LOGPROBS) != 0u) {
    var top = LOWEST;
    for (var i = thread; i < VOCAB; i += THREADS) { top = max(top, logits[base + i]); }
    raw_top = workgroup_max(top, thread, THREADS);
    var sum = 0.0;
    for (var i = thread; i < VOCAB; i += THREADS) { sum += exp(logits[base + i] - raw_top); }
    raw_log_sum = log(workgroup_sum(sum, thread, THREADS));
    var last_value = 3.4028234e38;
    var last_index = 0u;
    for (var n = 0u; n < num_top; n++) {
      var value = LOWEST;
      var index = NONE;
      for (var i = thread; i < VOCAB; i += THREADS) {
        let v = logits[base + i];
        if (comes_first(last_value, last_index, v, i) && comes_first(v, i, value, index)) { value = v; index = i; }
      }
      let found = first_of_workgroup(value, index, thread);
      last_value = bitcast<f32>(found.x);
      last_index = found.y;
      if (thread == 0u) {
        results[result + 4u + 2u * n] = last_index;
        results[result + 5u + 2u * n] = bitcast<u32>(last_value - raw_top - raw_log_sum);
      }
    }
  }

  var token = head.w;
  if ((head.z & SCORE) == 0u) {
    // Adjusted logits: bias, then penalties, as vLLM does. Fences, because later passes read what other threads wrote.
    for (var i = thread; i < VOCAB; i += THREADS) { adjusted[base + i] = logits[base + i]; }
    storageBarrier();
    workgroupBarrier();
    if (bias_count > 0u) {
      for (var b = thread; b < bias_count; b += THREADS) {
        adjusted[base + step_word(step[2].y + bias_at + 2u * b)] += bitcast<f32>(step_word(step[2].y + bias_at + 2u * b + 1u));
      }
      storageBarrier();
      workgroupBarrier();
    }
    if ((head.z & PENALTIES) != 0u) {
      for (var i = thread; i < VOCAB; i += THREADS) {
        adjusted[base + i] = penalised(adjusted[base + i], counts[head.y * VOCAB + i], penalties);
      }
      storageBarrier();
      workgroupBarrier();
    }
    var value = LOWEST;
    var index = NONE;
    for (var i = thread; i < VOCAB; i += THREADS) {
      let v = adjusted[base + i];
      if (comes_first(v, i, value, index)) { value = v; index = i; }
    }
    let first = first_of_workgroup(value, index, thread);
    let top = bitcast<f32>(first.x);
    // Where every logit is NaN none comes first; the token indexes counts and the embedding all the same.
    token = min(first.y, VOCAB - 1u);
    if (shape.x > 0.0) {
      // The smallest temperatures have no finite inverse, and infinity times the best token's zero is NaN.
      let inverse_temperature = 1.0 / max(shape.x, 1e-30);
      var floor_key = 0u;
      if (shape.z > 0.0) { floor_key = key_of(top + shape.x * log(shape.z)); }
      if (top_k > 0u && top_k < VOCAB) { floor_key = max(floor_key, select_key(base, thread, floor_key, top_k, 0.0, top, inverse_temperature, 0.0)); }
      var sum = 0.0;
      for (var i = thread; i < VOCAB; i += THREADS) {
        let v = adjusted[base + i];
        if (key_of(v) >= floor_key) { sum += exp((v - top) * inverse_temperature); }
      }
      let total = workgroup_sum(sum, thread, THREADS);
      if (shape.y < 1.0) { floor_key = max(floor_key, select_key(base, thread, floor_key, 0u, shape.y, top, inverse_temperature, total)); }
      token = draw(base, thread, floor_key, top, inverse_temperature, total, random_u32(seed, position), token);
    }
  }

  if (thread == 0u) {
    results[result] = token;
    results[result + 1u] = bitcast<u32>(logits[base + min(token, VOCAB - 1u)] - raw_top - raw_log_sum);
    if ((head.z & SCORE) == 0u) {
      sampled[head.y] = token;
      if ((head.z & PENALTIES) != 0u) { counts[head.y * VOCAB + token] += 1u; }
    }
  }
}

/**
 * The largest key such that the tokens at or above it number at least `want_count`, or (when that is 0) hold at least `want_mass`
 * of the mass of all tokens at or above `floor_key`. Radix selection, 8 bits a round, by histograms of counts or of masses.
 */
fn select_key(base: u32, thread: u32, floor_key: u32, want_count: u32, want_mass: f32, top: f32, inverse_temperature: f32, total: f32) -> u32 {
  var prefix = 0u;
  var above = 0u;
  var want = want_count;
  for (var round = 0u; round < 4u; round++) {
    let shift = 24u - 8u * round;
    workgroupBarrier();
    for (var b = thread; b < 256u; b += THREADS) { atomicStore(&bins[b], 0u); }
    workgroupBarrier();
    for (var i = thread; i < VOCAB; i += THREADS) {
      let v = adjusted[base + i];
      let key = key_of(v);
      let same_prefix = round == 0u || (key >> (shift + 8u)) == (prefix >> (shift + 8u));
      if (key >= floor_key && same_prefix) {
        var weight = 1u;
        if (want_count == 0u) { weight = mass_of(v, top, inverse_temperature, total); }
        atomicAdd(&bins[(key >> shift) & 255u], weight);
      }
    }
    workgroupBarrier();
    if (thread == 0u) {
      if (round == 0u && want_count == 0u) {
        var all = 0u;
        for (var b = 0u; b < 256u; b++) { all += atomicLoad(&bins[b]); }
        // At least one unit: the most likely token is always kept.
        mass_above = max(1u, u32(f32(all) * want_mass));
      }
      let needed = select(want, mass_above, want_count == 0u && round == 0u);
      var sum = above;
      var b = 256u;
      loop {
        b -= 1u;
        let here = atomicLoad(&bins[b]);
        if (sum + here >= needed || b == 0u) { break; }
        sum += here;
      }
      chosen_bin = b;
      best_index[0] = sum;
      best_index[1] = needed;
    }
    workgroupBarrier();
    above = best_index[0];
    want = best_index[1];
    prefix |= chosen_bin << shift;
    workgroupBarrier();
  }
  return prefix;
}

/** The token in which the cumulative mass of kept tokens, in id order, passes random · mass. `fallback` when rounding left no mass. */
fn draw(base: u32, thread: u32, floor_key: u32, top: f32, inverse_temperature: f32, total: f32, random: u32, fallback: u32) -> u32 {
  let each = (VOCAB + THREADS - 1u) / THREADS;
  let from_id = min(thread * each, VOCAB);
  let to_id = min(from_id + each, VOCAB);
  var own = 0u;
  for (var i = from_id; i < to_id; i++) {
    let v = adjusted[base + i];
    if (key_of(v) >= floor_key) { own += mass_of(v, top, inverse_temperature, total); }
  }
  workgroupBarrier();
  best_index[thread] = own;
  if (thread == 0u) { chosen_bin = fallback; }
  workgroupBarrier();
  var before = 0u;
  var all = 0u;
  for (var i = 0u; i < THREADS; i++) {
    if (i == thread) { before = all; }
    all += best_index[i];
  }
  // (random · all) >> 32 without 64-bit integers: 16-bit halves.
  let low = (random & 0xffffu) * (all & 0xffffu);
  let mid1 = (random >> 16u) * (all & 0xffffu);
  let mid2 = (random & 0xffffu) * (all >> 16u);
  let carry = ((low >> 16u) + (mid1 & 0xffffu) + (mid2 & 0xffffu)) >> 16u;
  let target_mass = (random >> 16u) * (all >> 16u) + (mid1 >> 16u) + (mid2 >> 16u) + carry;
  if (all > 0u && target_mass >= before && target_mass < before + own) {
    var sum = before;
    for (var i = from_id; i < to_id; i++) {
      let v = adjusted[base + i];
      if (key_of(v) >= floor_key) {
        sum += mass_of(v, top, inverse_temperature, total);
        if (target_mass < sum) { chosen_bin = i; break; }
      }
    }
  }
  workgroupBarrier();
  return chosen_bin;
}
