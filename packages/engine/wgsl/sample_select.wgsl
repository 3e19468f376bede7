// sample_select — the largest key from which on items number, or weigh, at least so much: radix selection, 8 bits a round; few by rank
// Items are a list in workgroup memory, or the whole row where more than LIST tokens would have to be listed. A list stands in the
// order in which threads came, so everything taken from it is a sum of integers. Nothing here is sorted.
// One workgroup has the whole way to itself: what it waits for is loads, shared additions to one word, and loops of one thread.
override THREADS: u32;   // a power of two, at least 32
override LIST: u32;      // at least as many
var<workgroup> listed_keys: array<atomic<u32>, LIST>;
var<workgroup> listed_ids: array<atomic<u32>, LIST>;
var<workgroup> num_listed: atomic<u32>;
var<workgroup> worthy: array<u32, LIST / 2u>;          // chunks that hold what is looked for
var<workgroup> num_worthy: atomic<u32>;
var<workgroup> part_mass: array<atomic<u32>, PARTS>;   // of each part's kept tokens
var<workgroup> bins: array<atomic<u32>, BINS>;
var<workgroup> blocks: array<u32, 32>;
var<workgroup> found: vec2<u32>;
var<workgroup> lowest_found: atomic<u32>;
var<workgroup> of_first_thread: u32;

/** Threads that compare one item with the others, and for how many items this is sooner done than four rounds of bins. */
fn comparers() -> u32 { return max(THREADS / 256u, 1u); }
fn few() -> u32 { return 64u * comparers(); }
/** In place of a number of listed items: all tokens of the row are. */
const ROW = 0xffffffffu;
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
 * Lists what is found, and weighs what lies above part by part. Few chunks of 16 hold any of it, by their maxima: those alone are
 * read, each by four threads. Where they are many, so is the row. Returns the number of tokens found, LIST + 1 where there are more;
 * the list is of no use then.
 */
fn list_tokens(search: Search, maxima: u32, odds: Odds, thread: u32) -> u32 {
  workgroupBarrier();
  if (thread == 0u) {
    atomicStore(&num_listed, 0u);
    atomicStore(&num_worthy, 0u);
  }
  for (var p = thread; p < PARTS; p += THREADS) { atomicStore(&part_mass[p], 0u); }
  workgroupBarrier();
  let quads = PARTS * PART / 64u;   // of maxima
  for (var quad = thread; quad < quads; quad += 4u * THREADS) {
    var here = from_low_on(maxima_chunk(maxima, quad, quads), search);
    while (here != 0u) {
      let bit = firstTrailingBit(here);
      here &= here - 1u;
      let slot = atomicAdd(&num_worthy, 1u);
      if (slot < LIST / 2u) { worthy[slot] = 4u * (quad + (bit >> 2u) * THREADS) + (bit & 3u); }
    }
  }
  workgroupBarrier();
  let num_chunks = atomicLoad(&num_worthy);
  if (num_chunks > LIST / 2u) {
    list_row(search, odds, thread);
  } else {
    for (var i = thread; i < 4u * num_chunks; i += THREADS) {
      let id = 16u * worthy[i >> 2u] + 4u * (i & 3u);
      var quad = value_quad(search.row, id, search.changed);
      var mass = 0u;
      for (var c = rolled(); c < 4u; c++) {
        if (quad.x * search.unit >= search.low) { mass += take(search, odds, id + c, quad.x); }
        quad = quad.yzwx;
      }
      if (mass > 0u) { atomicAdd(&part_mass[id / PART], mass); }
    }
  }
  workgroupBarrier();
  return uniform_word(min(atomicLoad(&num_listed), LIST + 1u), thread);
}

/** Sixteen maxima, THREADS vectors apart; behind the last they are too low for any search. */
fn maxima_chunk(maxima: u32, quad: u32, quads: u32) -> Chunk {
  if (ROLLED == 0u) { return Chunk(maxima_quad(maxima, quad, quads), maxima_quad(maxima, quad + THREADS, quads), maxima_quad(maxima, quad + 2u * THREADS, quads), maxima_quad(maxima, quad + 3u * THREADS, quads)); }
  var chunk: Chunk;
  for (var i = rolled(); i < 4u; i++) { chunk = moved_up(chunk, maxima_quad(maxima, quad + i * THREADS, quads)); }
  return chunk;
}
fn maxima_quad(maxima: u32, quad: u32, quads: u32) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), bitcast<vec4<f32>>(scan[maxima + min(quad, quads - 1u)]), quad < quads);
}

/** A bit for each of sixteen values, whether it is searched for or lies above. */
fn from_low_on(values: Chunk, search: Search) -> u32 {
  var chunk = values;
  var bits = 0u;
  for (var i = rolled(); i < 16u; i += 4u) {
    let quad = select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), chunk.a * search.unit >= vec4<f32>(search.low));
    bits |= (quad.x | quad.y | quad.z | quad.w) << i;
    chunk = moved_up(chunk, chunk.a);
  }
  return bits;
}

/**
 * The same for the whole row. Every 32 threads walk along a stretch of it, 32 tokens of each thread at a time; most of those are
 * too low, and what is to be done with the others is done one by one, so that threads wait for the one with most of them only.
 */
fn list_row(search: Search, odds: Odds, thread: u32) {
  let stretch = 32u * ((PARTS * PART / 4u + THREADS - 1u) / THREADS);
  let end = min((thread / 32u + 1u) * stretch, PARTS * PART / 4u);
  var part = 0u;
  var mass = 0u;
  for (var quad = thread / 32u * stretch + (thread & 31u); quad < end; quad += 256u) {
    var here = 0u;
    for (var half = rolled(); half < 2u; half++) {
      here |= from_low_on(value_chunk(search.row, 4u * quad + 512u * half, 128u, search.changed), search) << (16u * half);
    }
    let mine = (end - quad + 31u) / 32u;
    if (mine < 8u) { here &= (1u << (4u * mine)) - 1u; }
    while (here != 0u) {
      let bit = firstTrailingBit(here);
      here &= here - 1u;
      let id = 4u * quad + 128u * (bit >> 2u) + (bit & 3u);
      if (id / PART != part) {
        if (mass > 0u) { atomicAdd(&part_mass[part], mass); }
        part = id / PART;
        mass = 0u;
      }
      mass += take(search, odds, id, value_at(search.row, id, search.changed));
    }
  }
  if (mass > 0u) { atomicAdd(&part_mass[part], mass); }
}

/** The mass of a token that lies above what is searched; any other is listed. */
fn take(search: Search, odds: Odds, id: u32, value: f32) -> u32 {
  if (value * search.unit >= search.high) { return mass_of(value, odds); }
  if (atomicLoad(&num_listed) <= LIST) {
    let slot = atomicAdd(&num_listed, 1u);
    if (slot < LIST) {
      atomicStore(&listed_keys[slot], key_of(value));
      atomicStore(&listed_ids[slot], id);
    }
  }
  return 0u;
}

fn item_key(search: Search, items: u32, i: u32) -> u32 {
  if (items != ROW) { return atomicLoad(&listed_keys[i]); }
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
fn select_key(search: Search, items: u32, by_mass: bool, odds: Odds, wanted: u32, floor_key: u32, top_key: u32, thread: u32) -> u32 {
  if (ROLLED == 0u && items <= few()) { return key_by_rank(items, by_mass, odds, wanted, floor_key, thread); }
  // The digits in which no two keys differ are known.
  var width = 32u - countLeadingZeros(top_key ^ floor_key);
  var prefix = top_key & ~select((1u << width) - 1u, NONE, width == 32u);
  var want = wanted;
  while (width > 0u) {
    let rest = max(width, 8u) - 8u;
    for (var b = thread; b < 256u; b += THREADS) { atomicStore(&bins[b], 0u); }
    workgroupBarrier();
    let count = select(items, VOCAB, items == ROW);
    for (var i = thread; i < count; i += THREADS) {
      let key = item_key(search, items, i);
      if (key < floor_key || ((key ^ prefix) >> (width - 1u)) >> 1u != 0u) { continue; }
      var weight = 1u;
      if (by_mass) { weight = mass_of(value_of(key), odds); }
      atomicAdd(&bins[(key >> rest) & 255u & ((1u << (width - rest)) - 1u)], weight);
    }
    workgroupBarrier();
    // The highest bin from which on they add up to what is wanted: the highest 16 bins first, whose thread then looks through them.
    for (var b = thread; b < 16u; b += THREADS) {
      var sum = 0u;
      for (var i = rolled(); i < 16u; i++) { sum += atomicLoad(&bins[16u * b + i]); }
      blocks[b] = sum;
    }
    workgroupBarrier();
    for (var b = thread; b < 16u; b += THREADS) {
      var above = 0u;
      for (var i = 1u + rolled(); i < 16u; i++) { above += select(0u, blocks[i], i > b); }
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

/** The same, where every item can be compared with every other. */
fn key_by_rank(items: u32, by_mass: bool, odds: Odds, wanted: u32, floor_key: u32, thread: u32) -> u32 {
  for (var i = thread; i < items; i += THREADS) {
    let key = atomicLoad(&listed_keys[i]);
    var weight = 1u;
    if (by_mass) { weight = mass_of(value_of(key), odds); }
    atomicStore(&bins[i], select(0u, weight, key >= floor_key));
    atomicStore(&bins[items + i], 0u);
  }
  if (thread == 0u) { atomicStore(&lowest_found, floor_key); }
  workgroupBarrier();
  for (var i = thread; i < items * comparers(); i += THREADS) {
    let key = atomicLoad(&listed_keys[i % items]);
    var reached = 0u;
    for (var j = i / items; j < items; j += comparers()) { reached += select(0u, atomicLoad(&bins[j]), atomicLoad(&listed_keys[j]) >= key); }
    atomicAdd(&bins[items + i % items], reached);
  }
  workgroupBarrier();
  for (var i = thread; i < items; i += THREADS) {
    if (atomicLoad(&bins[items + i]) >= wanted) { atomicMax(&lowest_found, atomicLoad(&listed_keys[i])); }
  }
  workgroupBarrier();
  return uniform_word(atomicLoad(&lowest_found), thread);
}

/**
 * Σ e^((v − top) · inverse) over items from `floor_key` on, in units of 2^-30: digit by digit, since 32 bits are too few; and each
 * digit in 32 words, since additions to one word wait for each other.
 */
fn sum_items(search: Search, items: u32, odds: Odds, floor_key: u32, thread: u32) -> f32 {
  workgroupBarrier();
  for (var b = thread; b < 96u; b += THREADS) { atomicStore(&bins[b], 0u); }
  workgroupBarrier();
  let count = select(items, VOCAB, items == ROW);
  var sum = vec3<u32>();
  for (var i = thread; i < count; i += THREADS) {
    let key = item_key(search, items, i);
    if (key >= floor_key) {
      let units = mass_of(value_of(key), Odds(odds.top, odds.inverse, MASS_ONE));
      sum += vec3<u32>(units >> 20u, (units >> 10u) & 1023u, units & 1023u);
    }
  }
  if (any(sum > vec3<u32>())) {
    atomicAdd(&bins[thread & 31u], sum.x);
    atomicAdd(&bins[32u + (thread & 31u)], sum.y);
    atomicAdd(&bins[64u + (thread & 31u)], sum.z);
  }
  workgroupBarrier();
  for (var d = thread; d < 3u; d += THREADS) {
    blocks[d] = 0u;
    for (var i = rolled(); i < 32u; i++) { blocks[d] += atomicLoad(&bins[32u * d + i]); }
  }
  workgroupBarrier();
  let all = f32(blocks[0]) * 1048576.0 + f32(blocks[1]) * 1024.0 + f32(blocks[2]);
  workgroupBarrier();
  return all / MASS_ONE;
}

/** Adds the masses of items from `floor_key` on to those of their parts. */
fn weigh_items(search: Search, items: u32, odds: Odds, floor_key: u32, thread: u32) {
  let count = select(items, VOCAB, items == ROW);
  for (var i = thread; i < count; i += THREADS) {
    let key = item_key(search, items, i);
    if (key < floor_key) { continue; }
    var id = i;
    if (items != ROW) { id = atomicLoad(&listed_ids[i]); }
    atomicAdd(&part_mass[id / PART], mass_of(value_of(key), odds));
  }
  workgroupBarrier();
}
