import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { layerAttention, layerAttentionText } from './layer-attention.ts'
import { exchangeFunctions, exchangeLayout } from './layer-exchange.ts'
import { layerProduct, sumFloats } from './layer-product.ts'
import { layerProducts } from './layer-shape.ts'
import type { LayerProduct, WholeLayerShape } from './layer-shape.ts'

const bindings = {
  step: 'read',
  x: 'read_write',
  norm_attention: 'read',
  norm_mlp: 'read',
  w_qkv: 'read',
  bias: 'read',
  qk_norm: 'read',
  rotation: 'read',
  kv: 'read_write',
  w_output: 'read',
  w_gate_up: 'read',
  w_down: 'read',
  exchange: 'read_write',
  emptied: 'read_write'
} as const

/** Storage buffers of the kernel. */
export const wholeLayerBindings = Object.keys(bindings).length

/** Vectors of eight halves that products read: normalised rows, attended heads, gated values; or values of a part of the keys. */
function operandVectors (shape: WholeLayerShape): number {
  const { keys, stride } = layerAttention(shape)
  return Math.max(shape.hiddenSize / 8, shape.numHeads * shape.headDim / 8, shape.intermediateSize / 8, keys * stride)
}

/** Bytes of workgroup memory. */
export function wholeLayerBytes (shape: WholeLayerShape): number {
  const { group, keys } = layerAttention(shape)
  const products = layerProducts(shape)
  const arrays = [
    16 * operandVectors(shape), 4 * Math.max(...Object.values(products).map(sumFloats)), 4 * 32 * shape.teams / shape.subgroup, 4 * products.down.slots * 16,
    4 * (group + 2) * shape.headDim, 4 * group * keys, 4 * group, 8 * group
  ]
  return arrays.reduce((sum, bytes) => sum + Math.ceil(bytes / 16) * 16, 0)
}

/** True where the kernel can be written for a shape at all. */
export function fitsWholeLayer (shape: WholeLayerShape): boolean {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, workgroups, teams, subgroup } = shape
  if ([hiddenSize, intermediateSize, numHeads * headDim, numKVHeads * headDim].some(size => size % 16 !== 0)) return false
  const { group, keys, sharers } = layerAttention(shape)
  return headDim >= 32 && Math.log2(headDim / 32) % 1 === 0 && workgroups >= numKVHeads && sharers >= 1 && keys % subgroup === 0 &&
    // Every workgroup has a column of the gate, so that none is still reading the residual stream when another writes it.
    intermediateSize / 16 >= workgroups && (group + 1) * subgroup <= 32 * teams && headDim / 8 <= subgroup
}

/**
 * A decoder layer for a single token in one dispatch: rms_norm, q, k and v, rotation, attention, output projection, rms_norm, gate and up, down.
 * Weights tiled f16, keys and values f16 as attention-vector.ts has them, residual stream f32; W may have a bias for q, k and v, heads norms.
 *
 * Its workgroups run side by side and hand each other what they computed (layer-exchange.ts) instead of ending: where five dispatches wait for each
 * other, the memory has nothing to do, 3 to 4 us each time. Here a workgroup has its next weights on their way before it waits. **WebGPU does not
 * promise that workgroups run side by side**: whether so many do on an adapter is tried before the kernel is used, and a wait that lasts too long
 * ends in an error instead of a hang.
 *
 * Grid: `workgroups`. Bytes: weights, keys and values once. The sums of a row are those of the kernels that it replaces up to their order and the
 * rounding of normalised rows and attended heads to f16.
 */
export function wholeLayer (shape: WholeLayerShape) {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, qkvBias, qkNorm, workgroups, teams, ahead, subgroup } = shape
  const threads = 32 * teams
  const products = layerProducts(shape)
  const box = exchangeLayout(shape)
  const pairs = hiddenSize / 2
  const pairsEach = Math.ceil(pairs / threads)
  const eachPair = (line: (i: number) => string): string => unroll(pairsEach, i => `{ let p = thread + ${i * threads}u; if (p < ${pairs}u) { ${line(i)} } }`)
  const attention = layerAttentionText(shape, box)
  const text = (name: LayerProduct['name'], emit: string) => layerProduct(products[name], shape, emit)
  const qkv = text('qkv', `publish(${box.qkv}u + tile * 16u + row, bitcast<u32>(sum${qkvBias ? ' + bias[tile * 16u + row]' : ''}));`)
  const output = text('output', `publish(${box.output}u + tile * 16u + row, bitcast<u32>(sum));`)
  const gateUp = text('gate_up', `publish(${box.gated}u + tile * 8u + row / 2u, pack2x16float(both));`)
  const down = text('down', 'x[tile * 16u + row] = own_x[column] + sum;')
  const gather = (at: number, words: number): string => `{
    ${unroll(Math.ceil(words / threads), i => `let seen_${i} = look(${at}u + min(thread + ${i * threads}u, ${words - 1}u));`)}
    ${unroll(Math.ceil(words / threads), i => `{ let p = thread + ${i * threads}u; if (p < ${words}u) { operand[p / 4u][p % 4u] = wait(${at}u + p, seen_${i}); } }`)}
  }
  workgroupBarrier();`
  const normalise = (norm: string): string => `{
    var squares = 0.0;
    ${unroll(pairsEach, i => `squares += dot(x_${i}, x_${i});`)}
    let some = subgroupAdd(squares);
    if (thread % ${subgroup}u == 0u) { squares_of[thread / ${subgroup}u] = some; }
    workgroupBarrier();
    var all = 0.0;
    for (var n = 0u; n < ${threads / subgroup}u; n++) { all += squares_of[n]; }
    let scale = inverseSqrt(all / ${hiddenSize}.0 + EPS);
    ${eachPair(i => `operand[p / 4u][p % 4u] = pack2x16float(clamp(x_${i} * scale * ${norm}[p], vec2<f32>(-F16_MAX), vec2<f32>(F16_MAX)));`)}
  }
  workgroupBarrier();`

  return defineKernel({
    name: `whole_layer_${hiddenSize}_${intermediateSize}_h${numHeads}x${numKVHeads}_d${headDim}${qkvBias ? '_bias' : ''}${qkNorm ? '_norms' : ''}_g${workgroups}_t${teams}_a${ahead}_s${subgroup}`,
    bindings,
    overrides: ['EPS', 'SCALE', 'BLOCK_SIZE', 'WINDOW'],
    wgsl: `
// a decoder layer for one token; generated by whole-layer.ts
override EPS: f32;
override SCALE: f32;         // of queries
override BLOCK_SIZE: u32;
override WINDOW: u32;        // 0 is none
@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> norm_attention: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> norm_mlp: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> w_qkv: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> qk_norm: array<f32>;              // queries', then keys'
@group(0) @binding(7) var<storage, read> rotation: array<vec2<f32>>;       // [position][D/2] cos, sin
@group(0) @binding(8) var<storage, read_write> kv: array<vec4<u32>>;       // [block][k|v][KV head][slot][D]
@group(0) @binding(9) var<storage, read> w_output: array<vec4<u32>>;
@group(0) @binding(10) var<storage, read> w_gate_up: array<vec4<u32>>;     // gate rows, then up rows
@group(0) @binding(11) var<storage, read> w_down: array<vec4<u32>>;
@group(0) @binding(12) var<storage, read_write> exchange: array<atomic<u32>>;   // this layer's set,
@group(0) @binding(13) var<storage, read_write> emptied: array<atomic<u32>>;    // and the one before's
const LOWEST = -3.4028234e38;
const F16_MAX = 65504.0;
var<workgroup> operand: array<vec4<u32>, ${operandVectors(shape)}>;
var<workgroup> sums: array<f32, ${Math.max(...Object.values(products).map(sumFloats))}>;
var<workgroup> squares_of: array<f32, ${threads / subgroup}>;
var<workgroup> own_x: array<f32, ${products.down.slots * 16}>;
${attention.declarations}
${exchangeFunctions}
/** A workgroup's column tile; one past the last is another's, and is not used. */
fn own_tile(me: u32, slot: u32, tiles: u32) -> u32 {
  let tile = me + slot * ${workgroups}u;
  return select(min(me, tiles - 1u), tile, tile < tiles);
}

// Barriers behind what is published let a workgroup's own subgroups get there before others of it wait.
@compute @workgroup_size(${threads})
@diagnostic(off, subgroup_uniformity)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let me = wg.x;
  let lane = thread % 32u;
  let team = thread / 32u;
  ${qkv.begin}
  take_over(me * ${threads}u + thread, ${workgroups * threads}u);
  ${unroll(pairsEach, i => `var x_${i} = vec2<f32>(0.0);`)}
  ${eachPair(i => `x_${i} = vec2<f32>(x[2u * p], x[2u * p + 1u]);`)}
  ${attention.begin}
  ${normalise('norm_attention')}
  ${qkv.finish}
  ${output.begin}
  workgroupBarrier();
  ${attention.finish}
  workgroupBarrier();
  ${gather(box.attended, numHeads * headDim / 2)}
  ${output.finish}
  ${gateUp.begin}
  workgroupBarrier();
  ${eachPair(i => `let a = look(${box.output}u + 2u * p);
    let b = look(${box.output}u + 2u * p + 1u);
    x_${i} += vec2<f32>(bitcast<f32>(wait(${box.output}u + 2u * p, a)), bitcast<f32>(wait(${box.output}u + 2u * p + 1u, b)));
    if (p / 8u % ${workgroups}u == me) {
      let to = p / 8u / ${workgroups}u * 16u + p % 8u * 2u;
      own_x[to] = x_${i}.x;
      own_x[to + 1u] = x_${i}.y;
    }`)}
  ${normalise('norm_mlp')}
  ${gateUp.finish}
  ${down.begin}
  workgroupBarrier();
  ${gather(box.gated, intermediateSize / 2)}
  ${down.finish}
}
`
  })
}
