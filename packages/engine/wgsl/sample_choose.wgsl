// sample_choose — the token, or the score, of each logit row, from what sample_scan found in its parts       one workgroup per logit row
//   raw logprob = l − max − log Σ e^(l − max), of the logits before any change (vLLM's raw_logprobs)
//   draw        = min-p, top-k, top-p each cut a lower set of the values, ties at a cut are all kept; then inverse CDF in id order over
//                 fixed-point masses: integer sums do not depend on the order of threads
// The random number is a hash of (seed, position) alone, so a replayed sequence draws the same token.
override RESULT_WORDS: u32;   // 4 + 2 · 20
@group(0) @binding(2) var<storage, read> adjusted: array<vec4<f32>>;      // [logit row][PARTS · PART], where the row is changed
@group(0) @binding(3) var<storage, read> scan: array<vec4<u32>>;          // sample_row.wgsl
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;        // [state row][VOCAB]
@group(0) @binding(5) var<storage, read_write> sampled: array<u32>;       // [state row] the token fed to the next step
@group(0) @binding(6) var<storage, read_write> results: array<u32>;       // [logit row][RESULT_WORDS]

/** So many times the temperature below the largest value, a token's mass is certainly 0: e^-22.2 < 2^-32. */
const NEGLIGIBLE = 22.2;
/** Bins of mass are exact to so much: 1/2 of 1/8192 each, 1.04e-4 for a curve taken as a line, and the rounding of floats. */
const BIN_ERROR = 2e-4;
/** Tokens this close to the edge of a bin, in bins, may have been put into its neighbour. */
const EDGE = 0.01;

struct Summary { top: f32, inverse: f32, total: f32, first: u32 }
var<workgroup> merged: Summary;
var<workgroup> part_top: array<f32, PARTS>;
var<workgroup> part_sum: array<f32, PARTS>;
var<workgroup> part_first: array<u32, PARTS>;
var<workgroup> bin_mass: array<f32, BINS>;
var<workgroup> block_mass: array<f32, 32>;
var<workgroup> marks: array<atomic<u32>, 3>;

/** What the cuts leave: the values whose keys are at least `floor_key`, and their odds. */
struct Kept { floor_key: u32, odds: Odds }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = wg.x;
  if (row >= num_logit_rows()) { return; }
  let request = read_request(row);
  let with_logprobs = (request.flags & LOGPROBS) != 0u;
  let with_token = (request.flags & SCORE) == 0u;
  var raw_top = 0.0;
  var raw_log_sum = 0.0;
  var token = request.scored;
  // First the raw logits, for what is reported; then the values, for the token.
  for (var stage = select(1u, 0u, with_logprobs); stage < select(1u, 2u, with_token); stage++) {
    let raw = stage == 0u;
    let summary = merge_parts(row, raw, select(inverse_temperature(request), 1.0, raw), thread);
    let odds = Odds(summary.top, summary.inverse, MASS_ONE / summary.total);
    if (raw) {
      raw_top = summary.top;
      raw_log_sum = log(summary.total);
    } else {
      token = summary.first;
    }
    let k = select(request.top_k, request.num_top, raw);
    if (select(!is_drawn(request), k == 0u, raw)) { continue; }
    var low = LEAST;
    if (!raw) { low = max(low, odds.top - NEGLIGIBLE * request.temperature); }
    if (!raw && request.min_p > 0.0) { low = max(low, odds.top + request.temperature * log(request.min_p)); }
    var search = Search(row, is_changed(request) && !raw, low, HIGHEST, 1.0);
    var kept = Kept(0u, odds);
    if (raw || is_cut(request)) {
      let maxima = maxima_word(row, raw && is_changed(request)) / 4u;
      if (k > 0u) {
        search.low = bound_of_largest(search, maxima, k, odds.top, thread);
      } else if (is_binned(request)) {
        search = look_into_bins(search, request, odds, summary.total, thread);
      }
      let count = list_tokens(search, maxima, odds, thread);
      if (raw) {
        report_top(request, search, count, raw_top, raw_log_sum, thread);
        continue;
      }
      kept = cut(request, search, count, key_of(low), odds, thread);
    } else {
      for (var p = thread; p < PARTS; p += THREADS) { atomicStore(&part_mass[p], u32(part_sum[p] * odds.scale + 0.5)); }
      workgroupBarrier();
    }
    token = token_at(request, search, kept, summary.first, thread);
  }
  // Where no logit is a number none comes first; the token indexes counts and the embedding all the same.
  token = min(token, VOCAB - 1u);
  if (thread == 0u) {
    let at = row * VOCAB + token;
    results[row * RESULT_WORDS] = token;
    results[row * RESULT_WORDS + 1u] = bitcast<u32>(logits[at >> 2u][at & 3u] - raw_top - raw_log_sum);
    if (with_token) {
      sampled[request.state_row] = token;
      if ((request.flags & PENALTIES) != 0u) { counts[request.state_row * VOCAB + token] += 1u; }
    }
  }
}

/**
 * The largest value of all parts, the lowest id that has it, and Σ e^((v − top) · inverse); each part's share of that stays in
 * `part_sum`. One thread adds up: all at once would stand in each other's way for longer.
 */
fn merge_parts(row: u32, raw: bool, inverse: f32, thread: u32) -> Summary {
  workgroupBarrier();
  for (var p = thread; p < PARTS; p += THREADS) {
    let record = scan[record_word(row, p) / 4u];
    let own = bitcast<vec2<f32>>(select(record.xy, record.zw, raw));
    part_top[p] = own.x;
    part_sum[p] = own.y;
    part_first[p] = scan[record_word(row, p) / 4u + 1u].x;
  }
  workgroupBarrier();
  if (thread == 0u) {
    var largest = LOWEST;
    for (var p = rolled(); p < PARTS; p++) { largest = max(largest, part_top[p]); }
    merged = Summary(largest, inverse, 0.0, NONE);
  }
  let top = workgroupUniformLoad(&merged).top;
  for (var p = thread; p < PARTS; p += THREADS) { part_sum[p] *= exp((part_top[p] - top) * inverse); }
  workgroupBarrier();
  if (thread == 0u) {
    var total = 0.0;
    var first = NONE;
    for (var p = rolled(); p < PARTS; p++) {
      total += part_sum[p];
      if (part_top[p] == top) { first = min(first, part_first[p]); }
    }
    merged = Summary(top, inverse, total, first);
  }
  return workgroupUniformLoad(&merged);
}

/** What the k-th largest value is at least: so large are the maxima of k groups of tokens. Where there are fewer, the search's limit. */
fn bound_of_largest(search: Search, maxima: u32, k: u32, top: f32, thread: u32) -> f32 {
  let numbers = PARTS * PART / 64u;   // vectors of four maxima
  let groups = min(numbers, LIST / 4u);
  if (k > 4u * groups) { return search.low; }
  workgroupBarrier();
  for (var group = thread; group < groups; group += THREADS) {
    var largest = vec4<f32>(LOWEST);
    for (var i = rolled(); i < (numbers + groups - 1u) / groups; i++) { largest = max(largest, maxima_quad(maxima, group + i * groups, numbers)); }
    for (var c = rolled(); c < 4u; c++) {
      atomicStore(&listed_keys[4u * group + c], key_of(largest.x));
      largest = largest.yzwx;
    }
  }
  workgroupBarrier();
  return value_of(select_key(search, 4u * groups, false, Odds(), k, key_of(search.low), max(key_of(top), key_of(search.low)), thread));
}

/** Reports the most likely of the listed tokens, equal ones in order of id. */
fn report_top(request: Request, search: Search, count: u32, raw_top: f32, raw_log_sum: f32, thread: u32) {
  let result = search.row * RESULT_WORDS + 4u;
  if (count <= LIST) {
    for (var i = thread; i < count; i += THREADS) {
      let key = atomicLoad(&listed_keys[i]);
      let id = atomicLoad(&listed_ids[i]);
      var rank = 0u;
      for (var j = 0u; j < count; j++) {
        let other = atomicLoad(&listed_keys[j]);
        if (other > key || (other == key && atomicLoad(&listed_ids[j]) < id)) { rank++; }
      }
      if (rank < request.num_top) { write_top(result + 2u * rank, id, value_of(key) - raw_top - raw_log_sum); }
    }
    for (var rank = count + thread; rank < request.num_top; rank += THREADS) { write_top(result + 2u * rank, NONE, LOWEST); }
    return;
  }
  // So many tie that no list holds them: one walk over the row for each.
  var last_key = NONE;
  var last_id = 0u;
  for (var rank = 0u; rank < request.num_top; rank++) {
    if (thread == 0u) {
      atomicStore(&marks[0], 0u);
      atomicStore(&marks[1], NONE);
    }
    workgroupBarrier();
    var key = 0u;
    var id = NONE;
    for (var i = thread; i < VOCAB; i += THREADS) {
      let own = item_key(search, ROW, i);
      if ((own < last_key || (own == last_key && i > last_id)) && own > key) {
        key = own;
        id = i;
      }
    }
    atomicMax(&marks[0], key);
    workgroupBarrier();
    last_key = atomicLoad(&marks[0]);
    if (key == last_key) { atomicMin(&marks[1], id); }
    workgroupBarrier();
    last_id = atomicLoad(&marks[1]);
    if (thread == 0u) { write_top(result + 2u * rank, last_id, value_of(last_key) - raw_top - raw_log_sum); }
    workgroupBarrier();
  }
}

fn write_top(at: u32, token: u32, logprob: f32) {
  results[at] = token;
  results[at + 1u] = bitcast<u32>(logprob);
}

/**
 * Decides the cuts exactly, and leaves the kept tokens' masses by part. The list decides, unless it is too long or shows that the
 * bins were misread; then the whole row does.
 */
fn cut(request: Request, search: Search, count: u32, lowest_key: u32, all: Odds, thread: u32) -> Kept {
  let top_key = key_of(all.top);
  // Elsewhere top-p is of the mass that min-p and top-k leave.
  let refit = !is_weighed(request);
  let needed = max(1u, u32(MASS_ONE * min(request.top_p, 1.0)));
  var items = select(ROW, count, count <= LIST);
  loop {
    var above = 0u;
    if (items != ROW && search.high < HIGHEST) {
      for (var p = rolled(); p < PARTS; p++) { above += atomicLoad(&part_mass[p]); }
    }
    if (items == ROW) {
      workgroupBarrier();
      for (var p = thread; p < PARTS; p += THREADS) { atomicStore(&part_mass[p], 0u); }
    }
    var floor_key = lowest_key;
    var odds = all;
    var misread = false;
    // First by number, then by mass.
    for (var by_mass = rolled(); by_mass < 2u; by_mass++) {
      var wanted = request.top_k;
      if (by_mass == 1u) {
        var sum = 0.0;
        if (refit || (items != ROW && request.top_p < 1.0)) { sum = sum_items(search, items, all, floor_key, thread); }
        if (refit) { odds.scale = MASS_ONE / sum; }
        misread = items != ROW && !refit && (above >= needed || above + u32(sum * all.scale) < needed);
        wanted = needed - min(above, needed - 1u);
      }
      if (select(request.top_k == 0u, request.top_p >= 1.0, by_mass == 1u)) { continue; }
      floor_key = select_key(search, items, by_mass == 1u, odds, wanted, floor_key, top_key, thread);
    }
    if (uniform_word(u32(misread), thread) == 0u) {
      weigh_items(search, items, odds, floor_key, thread);
      return Kept(floor_key, odds);
    }
    items = ROW;
  }
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

/**
 * Where, in bins, the mass from the top on reaches top-p: what lies above is kept for sure, and what lies below is not. All that may
 * be kept is searched where it fits the list.
 */
fn look_into_bins(search: Search, request: Request, odds: Odds, total: f32, thread: u32) -> Search {
  let grid = bin_grid(request);
  let top_place = bin_place(vec4<f32>(odds.top), grid);
  let top_bits = bin_bits(top_place);
  let top_bin = bin_middle(top_bits).x;
  workgroupBarrier();
  for (var b = thread; b < BINS; b += THREADS) { atomicStore(&bins[b], 0u); }
  if (thread < 3u) { atomicStore(&marks[thread], select(BINS - 1u, 0u, thread == 2u)); }
  workgroupBarrier();
  // Added up by their distance from the row's highest bin. A thread adds the same four of several parts before it shares them.
  let teams = max(THREADS / (BINS / 4u), 1u);
  for (var column = thread % (BINS / 4u); column < BINS / 4u; column += THREADS) {
    let distance = (top_bits - LANES - 4u * column) & vec4<u32>(BINS - 1u);
    var sum = vec4<u32>();
    for (var i = rolled(); i < (PARTS + teams - 1u) / teams; i++) {
      let part = thread / (BINS / 4u) + teams * i;
      let units = scan[bins_word(search.row, min(part, PARTS - 1u)) / 4u + column];
      let below = top_bits - bin_bits(bin_place(vec4<f32>(part_top[min(part, PARTS - 1u)]), grid));
      sum += select(vec4<u32>(), units, (below <= distance) & vec4<bool>(part < PARTS));
    }
    for (var c = rolled(); c < 4u; c++) {
      if (sum.x > 0u) { atomicAdd(&bins[(distance.x - c) & (BINS - 1u)], sum.x); }
      sum = sum.yzwx;
    }
  }
  workgroupBarrier();
  for (var b = thread; b < BINS; b += THREADS) {
    bin_mass[b] = f32(atomicLoad(&bins[b])) / BIN_ONE * exp2((top_bin - top_place.x - f32(b)) / BINS_PER_OCTAVE);
  }
  workgroupBarrier();
  let block = BINS / 32u;
  for (var walk = rolled(); walk < 2u; walk++) {
    for (var b = thread; b < 32u; b += THREADS) {
      var reached = 0.0;
      for (var i = rolled(); i < 31u * walk; i++) { reached += select(0.0, block_mass[i], i < b); }
      for (var i = b * block + rolled(); i < (b + 1u) * block; i++) {
        reached += bin_mass[i];
        if (walk == 1u && reached >= request.top_p * total * (1.0 + BIN_ERROR)) { atomicMin(&marks[0], i); }
        if (walk == 1u && reached >= request.top_p * total * (1.0 - BIN_ERROR)) { atomicMin(&marks[1], i); }
      }
      if (walk == 0u) { block_mass[b] = reached; }
    }
    workgroupBarrier();
  }
  let last = atomicLoad(&marks[0]);
  for (var b = thread; b < 32u; b += THREADS) {
    var units = 0u;
    for (var i = b * block + rolled(); i < (b + 1u) * block; i++) { units += select(0u, atomicLoad(&bins[i]), i <= last); }
    if (units > 0u) { atomicAdd(&marks[2], units); }
  }
  workgroupBarrier();
  let fits = f32(atomicLoad(&marks[2])) <= f32(LIST) * BIN_ONE;
  let high = select(top_bin - f32(atomicLoad(&marks[1])) + 0.5 + EDGE, HIGHEST, fits);
  return Search(search.row, search.changed, top_bin - f32(last) - 0.5 - EDGE, high, grid);
}

/** The token in which the cumulative mass of kept tokens, in id order, passes random · mass; `first`, or its part's, where rounding left no mass. */
fn token_at(request: Request, search: Search, kept: Kept, first: u32, thread: u32) -> u32 {
  let random = random_u32(request.seed, request.position);
  // First the part, which one thread finds to be its own.
  for (var p = thread; p < PARTS; p += THREADS) {
    var before = 0u;
    var all = 0u;
    for (var i = rolled(); i < PARTS; i++) {
      let mass = atomicLoad(&part_mass[i]);
      before += select(0u, mass, i < p);
      all += mass;
    }
    let rest = high_product(random, all);
    if (rest >= before && rest - before < atomicLoad(&part_mass[p])) { found = vec2<u32>(p, rest - before); }
    if (p == 0u && all == 0u) { found = vec2<u32>(NONE); }
  }
  let place = workgroupUniformLoad(&found);
  if (place.x == NONE) { return first; }

  // Then the thread, by the masses of 32 blocks of threads and of the threads before it in its block; then the token.
  let each = (PART / 4u + THREADS - 1u) / THREADS;
  let first_quad = thread * each;
  let end_quad = min(first_quad + each, PART / 4u);
  var own = 0u;
  for (var quad = first_quad; quad < end_quad; quad++) {
    var values = value_quad(search.row, place.x * PART + 4u * quad, search.changed);
    for (var c = rolled(); c < 4u; c++) {
      own += kept_mass(values.x, kept);
      values = values.yzwx;
    }
  }
  atomicStore(&listed_keys[thread], own);
  workgroupBarrier();
  let block = THREADS / 32u;
  for (var b = thread; b < 32u; b += THREADS) {
    var sum = 0u;
    for (var t = 0u; t < block; t++) { sum += atomicLoad(&listed_keys[b * block + (t + b) % block]); }
    blocks[b] = sum;
  }
  workgroupBarrier();
  var before = 0u;
  var in_part = 0u;
  for (var b = rolled(); b < 32u; b++) {
    before += select(0u, blocks[b], b < thread / block);
    in_part += blocks[b];
  }
  // Where the part's mass came from a sum of floats, its tokens' masses add up to another by their rounding.
  var rest = place.y;
  let expected = atomicLoad(&part_mass[place.x]);
  if (in_part != expected) { rest = min(u32(f32(rest) / f32(expected) * f32(in_part)), max(in_part, 1u) - 1u); }
  if (rest >= before && rest - before < blocks[thread / block]) {
    for (var t = 0u; t < block; t++) { before += select(0u, atomicLoad(&listed_keys[thread / block * block + t]), t < thread % block); }
    if (rest >= before && rest - before < own) {
      rest -= before;
      var id = place.x * PART + 4u * first_quad;
      let last = min(place.x * PART + 4u * end_quad, VOCAB) - 1u;
      // Masses are computed a second time, and a compiler may round them otherwise here.
      while (id < last) {
        let mass = kept_mass(value_at(search.row, id, search.changed), kept);
        if (rest < mass) { break; }
        rest -= mass;
        id++;
      }
      found = vec2<u32>(id, 0u);
    }
  }
  if (in_part == 0u && thread == 0u) { found = vec2<u32>(part_first[place.x], 0u); }
  return workgroupUniformLoad(&found).x;
}

/** A token's mass; nothing where it is cut off. */
fn kept_mass(value: f32, kept: Kept) -> u32 { return select(0u, mass_of(value, kept.odds), key_of(value) >= kept.floor_key); }

/** (a · b) >> 32 without 64-bit integers: 16-bit halves. */
fn high_product(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let mid1 = (a >> 16u) * (b & 0xffffu);
  let mid2 = (a & 0xffffu) * (b >> 16u);
  let carry = ((low >> 16u) + (mid1 & 0xffffu) + (mid2 & 0xffffu)) >> 16u;
  return (a >> 16u) * (b >> 16u) + (mid1 >> 16u) + (mid2 >> 16u) + carry;
}
