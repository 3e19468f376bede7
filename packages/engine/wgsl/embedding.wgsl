// embedding — x[t, c] = SCALE · E[token(t), c]                           one workgroup per (64 vectors of the row, token)
// The table may be split by rows over several buffers: this dispatch writes the tokens in [FIRST_ROW, FIRST_ROW + ROWS).
override HIDDEN_SIZE: u32;
override FIRST_ROW: u32;
override ROWS: u32;
override SCALE: f32;
override LAYOUT: u32;   // of the table, weight-layout.ts
@group(0) @binding(0) var<storage, read> table: array<elem4>;
@group(0) @binding(1) var<storage, read> sampled: array<u32>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = wg.y;
  let c = wg.x * 64u + thread;
  // Both are asked for before either is looked at: neither waits for the other.
  let tokens = num_tokens();
  let record = token_record(t);
  if (t >= tokens || c >= HIDDEN_SIZE / 4u) { return; }
  var token = record.token;
  if (token == DEVICE_TOKEN) { token = sampled[record.state_row]; }
  if (token < FIRST_ROW || token >= FIRST_ROW + ROWS) { return; }
  x[t * (HIDDEN_SIZE / 4u) + c] = vec4<f32>(table[table_vector(token - FIRST_ROW, c)]) * SCALE;
}
