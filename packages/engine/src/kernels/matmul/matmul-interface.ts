import type { Epilogue } from './weight-layout.ts'

/** Bindings and overrides shared by every matrix kernel, so that one bind group serves all variants of a weight. */
export const matmulBindings = { x: 'read', weight: 'read', step: 'read', y: 'read_write' } as const
export const matmulOverrides = ['K', 'N', 'FIRST_COLUMN', 'COLUMNS', 'LOGIT_ROWS', 'OWN_COLUMNS'] as const

/** Declarations of a tensor-core kernel whose x and weight bindings hold elements of these types. */
export function matmulHeader (gated: boolean, x: string, weight: string): string {
  return `override K: u32;
override N: u32;             // rows of this weight buffer
override FIRST_COLUMN: u32;  // where its outputs start in a row of y
override COLUMNS: u32;       // outputs in a row of y
override LOGIT_ROWS: bool;   // rows of x are logit rows, not tokens
override OWN_COLUMNS: u32;   // outputs of this weight buffer
@group(0) @binding(0) var<storage, read> x: array<${x}>;
@group(0) @binding(1) var<storage, read> weight: array<${weight}>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<${gated ? 'act' : 'f32'}>;`
}

/** Writes one output element; `total(0)` is its sum, `total(1)` the up projection's with `silu-gate`. */
export function storeOutput (epilogue: Epilogue, m: string, own: string, total: (stream: number) => string): string {
  const at = `${m} * COLUMNS + FIRST_COLUMN + ${own}`
  if (epilogue === 'silu-gate') return `y[${at}] = act(${total(0)} / (1.0 + exp(-${total(0)})) * ${total(1)});`
  return `y[${at}] ${epilogue === 'residual' ? '+=' : '='} ${total(0)};`
}
