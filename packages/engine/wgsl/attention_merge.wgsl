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
const LOWEST = -3.4028234e38;
var<workgroup> team_out: array<vec4<f32>, THREADS>;       // [team][D/4]
var<workgroup> team_max_sum: array<vec2<f32>, THREADS>;   // likewise, the same for all of a team

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // Both are asked for before either is looked at: neither waits for the other.
  let rows = num_singles();
  let record = single_record(wg.y);
  if (wg.y >= rows) { return; }
  let before_own = prefix_parts(record);
  let parts = before_own + (record.context - record.prefix + split_keys() - 1u) / split_keys();
  // Rows of one part are finished where they are attended.
  if (parts == 1u) { return; }
  // Parts wholly before the window were not computed, or not for this row.
  let hidden = select(0u, max(record.context, WINDOW) - WINDOW, WINDOW > 0u);
  let first = select(hidden / group_keys(), before_own + (hidden - min(hidden, record.prefix)) / split_keys(), hidden >= record.prefix);
  // A team of D/4 threads takes every so-manieth part, four in a turn: all of their loads are under way at once and none waits for a
  // maximum over all parts. Each team keeps to the maximum of its own, and teams are brought to one in the end.
  let vectors = HEAD_DIM / 4u;
  let teams = THREADS / vectors;
  let team = thread / vectors;
  let lane = thread % vectors;
  var top = LOWEST;
  var out = vec4<f32>(0.0);
  var sum = 0.0;
  for (var s = first + team; s < parts && team < teams; s += 4u * teams) {
    let turn = vec4<u32>(s, s + teams, s + 2u * teams, s + 3u * teams);
    // Past the end the last part is read again, and has no share.
    let at = (record.partial + min(turn, vec4<u32>(parts - 1u))) * NUM_HEADS + wg.x;
    let max_sum_0 = partial_max_sum[at.x];
    let max_sum_1 = partial_max_sum[at.y];
    let max_sum_2 = partial_max_sum[at.z];
    let max_sum_3 = partial_max_sum[at.w];
    let out_0 = partial_out[at.x * vectors + lane];
    let out_1 = partial_out[at.y * vectors + lane];
    let out_2 = partial_out[at.z * vectors + lane];
    let out_3 = partial_out[at.w * vectors + lane];
    let m = select(vec4<f32>(LOWEST), vec4<f32>(max_sum_0.x, max_sum_1.x, max_sum_2.x, max_sum_3.x), turn < vec4<u32>(parts));
    let raised = max(max(top, max(m.x, m.y)), max(m.z, m.w));
    let keep = exp(top - raised);
    let share = exp(m - raised);
    out = out * keep + out_0 * share.x + out_1 * share.y + out_2 * share.z + out_3 * share.w;
    sum = sum * keep + dot(vec4<f32>(max_sum_0.y, max_sum_1.y, max_sum_2.y, max_sum_3.y), share);
    top = raised;
  }
  team_out[thread] = out;
  team_max_sum[thread] = vec2<f32>(top, sum);
  workgroupBarrier();
  if (team == 0u) {
    for (var n = 1u; n < teams; n++) { top = max(top, team_max_sum[n * vectors].x); }
    out = vec4<f32>(0.0);
    sum = 0.0;
    for (var n = 0u; n < teams; n++) {
      // Of a team without a part nothing: e^(LOWEST − M).
      let max_sum = team_max_sum[n * vectors];
      let share = exp(max_sum.x - top);
      out = fma(team_out[n * vectors + lane], vec4<f32>(share), out);
      sum = fma(max_sum.y, share, sum);
    }
    y[(record.token_row * NUM_HEADS + wg.x) * vectors + lane] = act4(out / sum);
  }
}
