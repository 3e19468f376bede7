import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

/** Bindings and overrides of every matrix kernel, so that one bind group serves all variants of a weight. */
export const matmulBindings = { x: 'read', weight: 'read', bias: 'read', step: 'read', y: 'read_write' } as const
export const matmulOverrides = ['K', 'N', 'FIRST_COLUMN', 'COLUMNS', 'LOGIT_ROWS', 'OWN_COLUMNS', 'BIAS', 'SCALE', 'SOFTCAP'] as const

/** Rows that activations are padded to, and the most that a workgroup of a matrix kernel serves: rows past the last are computed and never used. */
export const rowPadding = 128

/** The overrides that leave a sum as it is; BIAS, SCALE and SOFTCAP are the model's, the rest the weight's. */
export const plainSum = { BIAS: 0, SCALE: 1, SOFTCAP: 0 } as const

/** Declarations of a matrix kernel whose x and weight bindings hold elements of these types. */
export function matmulHeader (epilogue: Epilogue, x: string, weight: string): string {
  return `override K: u32;
override N: u32;             // rows of this weight buffer
override FIRST_COLUMN: u32;  // where its outputs start in a row of y: a weight may be split over several buffers
override COLUMNS: u32;       // outputs in a row of y
override LOGIT_ROWS: bool;   // rows of x are logit rows, not tokens
override OWN_COLUMNS: u32;   // outputs of this weight buffer: N, or N/2 gate rows followed by as many up rows
override BIAS: bool;         // bias holds COLUMNS values, or as many gate values followed by as many up values
override SCALE: f32;
override SOFTCAP: f32;       // 0 is none
@group(0) @binding(0) var<storage, read> x: array<${x}>;
@group(0) @binding(1) var<storage, read> weight: array<${weight}>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<${isGated(epilogue) ? 'act' : 'f32'}>;
${finishingFunctions(epilogue)}`
}

/** Writes one output element; `column` is its index in a row of y, `total(0)` its sum, `total(1)` the up projection's if gated. */
export function storeOutput (epilogue: Epilogue, m: string, column: string, total: (stream: number) => string): string {
  const at = `(${m}) * COLUMNS + ${column}`
  if (isGated(epilogue)) return `y[${at}] = finished(${total(0)}, ${total(1)}, ${column});`
  return `y[${at}] ${epilogue === 'residual' ? '+=' : '='} finished(${total(0)}, ${column});`
}

function finishingFunctions (epilogue: Epilogue): string {
  if (!isGated(epilogue)) {
    return `
fn finished(total: f32, column: u32) -> f32 {
  var v = total;
  if (BIAS) { v += bias[column]; }
  v *= SCALE;
  // Beyond 10 tanh is 1 in f32, and some drivers overflow.
  if (SOFTCAP > 0.0) { v = SOFTCAP * tanh(clamp(v / SOFTCAP, -10.0, 10.0)); }
  return v;
}`
  }
  return `
fn finished(gate: f32, up: f32, column: u32) -> act {
  var g = gate;
  var u = up;
  if (BIAS) { g += bias[column]; u += bias[COLUMNS + column]; }
  ${epilogue === 'silu-gate'
    ? 'let activated = g / (1.0 + exp(-g));'
    : 'let activated = 0.5 * g * (1.0 + tanh(clamp(0.7978845608 * (g + 0.044715 * g * g * g), -10.0, 10.0)));'}
  return act(clamp(activated * u, -ACT_MAX, ACT_MAX));
}`
}
