// sample_select — the largest key from which on items number, or weigh, at least so much: radix selection, 8 bits a round
// Items are a list in workgroup memory, or the whole row where more than LIST tokens would have to be listed. A list stands in the
// order in which threads came, so everything taken from it is a sum of integers. Nothing here is sorted.
override THREADS: u32;   // a power of two, at least 32
override LIST: u32;      // at least as many
var<workgroup> listed_keys: array<atomic<u32>, LIST>;
var<workgroup> listed_ids: array<atomic<u32>, LIST>;
var<workgroup> num_listed: atomic<u32>;
var<workgroup> part_mass: array<atomic<u32>, PARTS>;   // of each part's kept tokens
var<workgroup> bins: array<atomic<u32>, BINS>;
var<workgroup> blocks: array<u32, 32>;
var<workgroup> found: vec2<u32>;
var<workgroup> of_first_thread: u32;

const MASS_ONE = 1073741824.0;   // 2^30: the fixed-point mass of probability 1

/** Probability of a value: e^((value − top) · inverse) · scale / MASS_ONE. */
struct Odds { top: f32, inverse: f32, scale: f32 }

/** The values a row is searched for: from `low` up to `high`, both in multiples of 1/unit. */
struct Search { row: u32, changed: bool, low: f32, high: f32, unit: f32 }

/** Order of floats as unsigned integers; the two zeros are one. */
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
  return bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) == 1u);
}
fn value_of(key: u32) -> f32 { return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key >> 31u) == 1u)); }

fn mass_of(value: f32, odds: Odds) -> u32 { return u32(exp((value - odds.top) * odds.inverse) * odds.scale + 0.5); }

/** The first thread's value: to all, and provably the same. */
fn uniform_word(value: u32, thread: u32) -> u32 {
  if (thread == 0u) { of_first_thread = value; }
  return workgroupUniformLoad(&of_first_thread);
}

/**
 * Lists what is found, and weighs what lies above part by part. Chunks whose maximum is too low are not read. Returns the number of
 * tokens found, LIST + 1 where there are more; the list is of no use then.
 */
fn list_tokens(search: Search, maxima: u32, odds: Odds, thread: u32) -> u32 {
  workgroupBarrier();
  if (thread == 0u) { atomicStore(&num_listed, 0u); }
  for (var p = thread; p < PARTS; p += THREADS) { atomicStore(&part_mass[p], 0u); }
  workgroupBarrier();
  for (var block = thread; block < PARTS * PART / 64u; block += THREADS) {
    var largest = bitcast<vec4<f32>>(scan[maxima + block]);
    var mass = 0u;
    for (var id = block * 64u; id < block * 64u + 64u + rolled(); id += 16u) {
      let worthy = largest.x * search.unit >= search.low;
      largest = largest.yzwx;
      if (!worthy) { continue; }
      var chunk = value_chunk(search.row, id, search.changed);
      for (var i = 0u; i < 16u + rolled(); i++) {
        let value = chunk.a.x;
        chunk.a = chunk.a.yzwx;
        if ((i & 3u) == 3u) { chunk = moved_up(chunk, chunk.a); }
        if (value * search.unit < search.low) { continue; }
        if (value * search.unit >= search.high) {
          mass += mass_of(value, odds);
        } else if (atomicLoad(&num_listed) <= LIST) {
          let slot = atomicAdd(&num_listed, 1u);
          if (slot < LIST) {
            atomicStore(&listed_keys[slot], key_of(value));
            atomicStore(&listed_ids[slot], id + i);
          }
        }
      }
    }
    if (mass > 0u) { atomicAdd(&part_mass[block * 64u / PART], mass); }
  }
  workgroupBarrier();
  return uniform_word(min(atomicLoad(&num_listed), LIST + 1u), thread);
}

fn num_items(listed: bool) -> u32 { return select(VOCAB, min(atomicLoad(&num_listed), LIST), listed); }

fn item_key(search: Search, listed: bool, i: u32) -> u32 {
  if (listed) { return atomicLoad(&listed_keys[i]); }
  return key_of(value_at(search.row, i, search.changed));
}

fn value_at(row: u32, id: u32, changed: bool) -> f32 {
  var at = row * VOCAB + id;
  var value: f32;
  if (changed) {
    at = row * PARTS * PART + id;
    value = adjusted[at >> 2u][at & 3u];
  } else {
    value = logits[at >> 2u][at & 3u];
  }
  return select(LOWEST, min(value, -LEAST), value > LEAST);
}

/**
 * The largest key such that the items from it on number, or by mass weigh, at least `wanted`, which is not 0; `floor_key` where all
 * those from that on do not. No key is larger than `top_key`.
 */
fn select_key(search: Search, listed: bool, by_mass: bool, odds: Odds, wanted: u32, floor_key: u32, top_key: u32, thread: u32) -> u32 {
  // The digits in which no two keys differ are known.
  var width = 32u - countLeadingZeros(top_key ^ floor_key);
  var prefix = top_key & ~select((1u << width) - 1u, NONE, width == 32u);
  var want = wanted;
  while (width > 0u) {
    let rest = max(width, 8u) - 8u;
    for (var b = thread; b < 256u; b += THREADS) { atomicStore(&bins[b], 0u); }
    workgroupBarrier();
    let count = num_items(listed);
    for (var i = thread; i < count; i += THREADS) {
      let key = item_key(search, listed, i);
      if (key < floor_key || ((key ^ prefix) >> (width - 1u)) >> 1u != 0u) { continue; }
      var weight = 1u;
      if (by_mass) { weight = mass_of(value_of(key), odds); }
      atomicAdd(&bins[(key >> rest) & 255u & ((1u << (width - rest)) - 1u)], weight);
    }
    workgroupBarrier();
    // The highest bin from which on they add up to what is wanted: sums of 16 bins first.
    for (var b = thread; b < 16u; b += THREADS) {
      var sum = 0u;
      for (var i = 0u; i < 16u + rolled(); i++) { sum += atomicLoad(&bins[16u * b + i]); }
      blocks[b] = sum;
    }
    workgroupBarrier();
    for (var b = thread; b < 16u; b += THREADS) {
      var above = 0u;
      for (var i = b + 1u; i < 16u; i++) { above += blocks[i]; }
      if (above < want && (b == 0u || above + blocks[b] >= want)) {
        var bin = 16u * b + 15u;
        while (bin > 16u * b && above + atomicLoad(&bins[bin]) < want) {
          above += atomicLoad(&bins[bin]);
          bin--;
        }
        found = vec2<u32>(bin, above);
      }
    }
    let digit = workgroupUniformLoad(&found);
    prefix |= digit.x << rest;
    want -= digit.y;
    width = rest;
  }
  return max(prefix, floor_key);
}

/** Σ e^((v − top) · inverse) over items from `floor_key` on, in units of 2^-30: digit by digit, since 32 bits are too few. */
fn sum_items(search: Search, listed: bool, odds: Odds, floor_key: u32, thread: u32) -> f32 {
  workgroupBarrier();
  for (var b = thread; b < 3u; b += THREADS) { atomicStore(&bins[b], 0u); }
  workgroupBarrier();
  let count = num_items(listed);
  var sum = vec3<u32>();
  for (var i = thread; i < count; i += THREADS) {
    let key = item_key(search, listed, i);
    if (key >= floor_key) {
      let units = mass_of(value_of(key), Odds(odds.top, odds.inverse, MASS_ONE));
      sum += vec3<u32>(units >> 20u, (units >> 10u) & 1023u, units & 1023u);
    }
  }
  atomicAdd(&bins[0], sum.x);
  atomicAdd(&bins[1], sum.y);
  atomicAdd(&bins[2], sum.z);
  workgroupBarrier();
  let all = f32(atomicLoad(&bins[0])) * 1048576.0 + f32(atomicLoad(&bins[1])) * 1024.0 + f32(atomicLoad(&bins[2]));
  workgroupBarrier();
  return all / MASS_ONE;
}

/** Adds the masses of items from `floor_key` on to those of their parts. */
fn weigh_items(search: Search, listed: bool, odds: Odds, floor_key: u32, thread: u32) {
  let count = num_items(listed);
  for (var i = thread; i < count; i += THREADS) {
    let key = item_key(search, listed, i);
    if (key < floor_key) { continue; }
    var id = i;
    if (listed) { id = atomicLoad(&listed_ids[i]); }
    atomicAdd(&part_mass[id / PART], mass_of(value_of(key), odds));
  }
  workgroupBarrier();
}
