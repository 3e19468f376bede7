// attention_merge — M = max m, y = Σ e^(m−M) o / Σ e^(m−M) l over a single row's parts              one workgroup per (query head, single row)
// The order of the sums depends on how many parts there are; attention_reduce keeps to one order, and waits for each part in turn.
override NUM_HEADS: u32;
override HEAD_DIM: u32;
override WINDOW: u32;
@group(0) @binding(0) var<storage, read> partial_out: array<vec4<f32>>;   // [part, query head][D/4], unnormalised
@group(0) @binding(1) var<storage, read> partial_max_sum: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<act4>;            // [token][query head][D/4]

const THREADS = 128u;
var<workgroup> team_out: array<vec4<f32>, THREADS>;   // [team][D/4]
var<workgroup> team_sum: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (wg.y >= num_singles()) { return; }
  let record = single_record(wg.y);
  let before_own = prefix_parts(record);
  let parts = before_own + (record.context - record.prefix + split_keys() - 1u) / split_keys();
  // Rows of one part are finished where they are attended.
  if (parts == 1u) { return; }
  // Parts wholly before the window were not computed, or not for this row.
  let hidden = select(0u, max(record.context, WINDOW) - WINDOW, WINDOW > 0u);
  let first = select(hidden / group_keys(), before_own + (hidden - min(hidden, record.prefix)) / split_keys(), hidden >= record.prefix);
  let vectors = HEAD_DIM / 4u;
  var top = -3.4028234e38;
  for (var s = first + thread; s < parts; s += THREADS) {
    top = max(top, partial_max_sum[(record.partial + s) * NUM_HEADS + wg.x].x);
  }
  top = workgroup_max(top, thread, THREADS);
  // A team of D/4 threads takes every so-manieth part: nothing in a turn waits for the one before.
  let teams = THREADS / vectors;
  let team = thread / vectors;
  let lane = thread % vectors;
  var out = vec4<f32>(0.0);
  var sum = 0.0;
  if (team < teams) {
    for (var s = first + team; s < parts; s += teams) {
      let at = (record.partial + s) * NUM_HEADS + wg.x;
      let max_sum = partial_max_sum[at];
      let share = exp(max_sum.x - top);
      out = fma(partial_out[at * vectors + lane], vec4<f32>(share), out);
      sum = fma(max_sum.y, share, sum);
    }
  }
  team_out[thread] = out;
  team_sum[thread] = sum;
  workgroupBarrier();
  if (team == 0u) {
    for (var n = 1u; n < teams; n++) {
      out += team_out[n * vectors + lane];
      sum += team_sum[n * vectors + lane];
    }
    y[(record.token_row * NUM_HEADS + wg.x) * vectors + lane] = act4(out / sum);
  }
}
