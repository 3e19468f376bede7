// route_logits — logits[t, e] = x[t] · router[e]                                  one workgroup per 4 experts (a team each) and 4 tokens
// Every lane runs along K by fma, then a team's 64 sums are added in ascending order: a logit's bits depend on its row and expert alone.
override HIDDEN_SIZE: u32;
override NUM_EXPERTS: u32;
@group(0) @binding(0) var<storage, read> x: array<act4>;              // [token][HIDDEN_SIZE]
@group(0) @binding(1) var<storage, read> router: array<vec4<f32>>;    // [expert][HIDDEN_SIZE]
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;    // [token][NUM_EXPERTS]

const LANES = 64u;
const TEAMS = 4u;
const TOKENS = 4u;

var<workgroup> partial: array<vec4<f32>, 256>;   // [team][lane], a component for each token

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tokens = num_tokens();
  let t0 = wg.y * TOKENS;
  if (t0 >= tokens) { return; }
  let vectors = HIDDEN_SIZE / 4u;
  let lane = thread % LANES;
  let expert = min(wg.x * TEAMS + thread / LANES, NUM_EXPERTS - 1u);
  let rows = min(vec4<u32>(t0, t0 + 1u, t0 + 2u, t0 + 3u), vec4<u32>(tokens - 1u)) * vectors;
  var sums = vec4<f32>(0.0);
  for (var c = lane; c < vectors; c += LANES) {
    let b = router[expert * vectors + c];
    // Columns of four tokens' vectors: one fma advances all four sums.
    let a = transpose(mat4x4<f32>(vec4<f32>(x[rows.x + c]), vec4<f32>(x[rows.y + c]), vec4<f32>(x[rows.z + c]), vec4<f32>(x[rows.w + c])));
    sums = fma(a[0], vec4<f32>(b.x), sums);
    sums = fma(a[1], vec4<f32>(b.y), sums);
    sums = fma(a[2], vec4<f32>(b.z), sums);
    sums = fma(a[3], vec4<f32>(b.w), sums);
  }
  partial[thread] = sums;
  workgroupBarrier();
  let t = t0 + lane;
  let own = wg.x * TEAMS + thread / LANES;
  if (lane >= TOKENS || t >= tokens || own >= NUM_EXPERTS) { return; }
  var logit = 0.0;
  for (var l = 0u; l < LANES; l++) { logit += partial[thread - lane + l][lane]; }
  logits[t * NUM_EXPERTS + own] = logit;
}
