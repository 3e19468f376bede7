import { defineKernel } from '../define-kernel.ts'
import { layerAttentionText } from './layer-attention.ts'
import { layerAttention } from './layer-attention-part.ts'
import { exchangeFunctions, exchangeLayout } from './layer-exchange.ts'
import { layerProduct, sumFloats } from './layer-product.ts'
import { layerRows, sharedSums } from './layer-rows.ts'
import { layerProducts, ownTiles, rowVectors } from './layer-shape.ts'
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

/** Vectors of eight halves that products read: pieces of normalised rows, attended heads, gated values; or values of a part of the keys. */
function operandVectors (shape: WholeLayerShape, products: Readonly<Record<string, LayerProduct>>): number {
  const { keys, stride } = layerAttention(shape)
  return Math.max(...Object.values(products).map(product => Math.max(shape.rows * rowVectors(product), shape.matrices ? sumFloats(product, shape) / 4 : 0)), keys * stride)
}

/** Bytes of workgroup memory; undefined where the kernel cannot be written. */
export function wholeLayerBytes (shape: WholeLayerShape): number | undefined {
  const { group, keys } = layerAttention(shape)
  const products = layerProducts(shape)
  if (products === undefined) return undefined
  const arrays = [
    16 * operandVectors(shape, products), 4 * sumsLength(shape, products), 4 * 32 * shape.teams / shape.subgroup, 4 * ownTiles(products.down) * 16 * shape.rows,
    4 * (group + 2) * shape.headDim, 4 * group * keys, 4 * group, 8 * group
  ]
  return arrays.reduce((sum, bytes) => sum + Math.ceil(bytes / 16) * 16, 0)
}

function sumsLength (shape: WholeLayerShape, products: Readonly<Record<string, LayerProduct>>): number {
  return shape.matrices ? 1 : Math.max(...Object.values(products).map(product => sumFloats(product, shape)))
}

/** True where the kernel can be written for a shape at all. */
export function fitsWholeLayer (shape: WholeLayerShape): boolean {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, rows, matrices, workgroups, teams, subgroup } = shape
  if ([hiddenSize, intermediateSize, numHeads * headDim, numKVHeads * headDim].some(size => size % 16 !== 0)) return false
  if (headDim < 32 || Math.log2(headDim / 32) % 1 !== 0) return false
  const { group, keys, sharers } = layerAttention(shape)
  return layerProducts(shape) !== undefined && rows <= teams && (!matrices || rows % 8 === 0) &&
    workgroups >= rows * numKVHeads && sharers >= 1 && keys % subgroup === 0 &&
    // Every workgroup has a column of the gate, so that none is still reading the residual stream when another writes it.
    intermediateSize / 16 >= workgroups && (group + 1) * subgroup <= 32 * teams && headDim / 8 <= subgroup
}

/**
 * A decoder layer for a few single tokens in one dispatch: rms_norm, q, k and v, rotation, attention, output projection, rms_norm, gate and up, down.
 * Weights tiled f16, keys and values f16 as attention-vector.ts has them, residual stream `[row][hidden]` f32; W may have a bias for q, k and v, heads norms.
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
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, qkvBias, qkNorm, rows, matrices, pieceBytes, workgroups, teams, ahead, subgroup } = shape
  const threads = 32 * teams
  const products = layerProducts(shape)
  if (products === undefined) throw new RangeError('the kernel cannot be written for this shape')
  const box = exchangeLayout(shape)
  const attention = layerAttentionText(shape, box)
  const { inputs, attended, branch, gated } = layerRows(shape, products, box, attention.look)
  const width = (numHeads + 2 * numKVHeads) * headDim
  const ofRow = (length: number): string => rows === 1 ? '' : `row * ${length}u + `
  const text = (name: LayerProduct['name'], nextPiece: string, emit: string) => layerProduct(products[name], shape, { nextPiece, emit })
  const qkv = text('qkv', inputs.next, `publish(${box.qkv}u + ${ofRow(width)}tile * 16u + column, bitcast<u32>(sum${qkvBias ? ' + bias[tile * 16u + column]' : ''}));`)
  const output = text('output', attended.next, `publish(${box.output}u + ${ofRow(hiddenSize)}tile * 16u + column, bitcast<u32>(sum));`)
  const gateUp = text('gate_up', branch.next, `publish(${box.gated}u + ${ofRow(intermediateSize / 2)}tile * 8u + column / 2u, pack2x16float(both));`)
  const { across } = products.down
  const down = text('down', gated.next, across > 1
    ? `publish(${box.down}u + (tile * ${across}u + me % ${across}u) * ${16 * rows}u + row * 16u + column, bitcast<u32>(sum));`
    : `x[${ofRow(hiddenSize)}tile * 16u + column] = own_x[slot * ${16 * rows}u + row * 16u + column] + sum;`)

  return defineKernel({
    name: `whole_layer_${hiddenSize}_${intermediateSize}_h${numHeads}x${numKVHeads}_d${headDim}${qkvBias ? '_bias' : ''}${qkNorm ? '_norms' : ''}_r${rows}${matrices ? '_mma' : ''}${rows === 1 ? '' : `_p${pieceBytes}`}_g${workgroups}_t${teams}_a${ahead}_s${subgroup}`,
    bindings,
    overrides: ['EPS', 'SCALE', 'BLOCK_SIZE', 'WINDOW'],
    wgsl: `
// a decoder layer for ${rows === 1 ? 'one token' : `up to ${rows} tokens`}; generated by whole-layer.ts
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
var<workgroup> operand: array<vec4<u32>, ${operandVectors(shape, products)}>;          // [row][K of a piece]
var<workgroup> sums: array<f32, ${sumsLength(shape, products)}>;
var<workgroup> squares_of: array<f32, ${threads / subgroup}>;
var<workgroup> own_x: array<f32, ${ownTiles(products.down) * 16 * rows}>;
${attention.declarations}
${exchangeFunctions}
/** A workgroup's column tile; one past the last is another's, and is not used. */
fn own_tile(place: u32, slot: u32, groups: u32, tiles: u32) -> u32 {
  let tile = place + slot * groups;
  return select(min(place, tiles - 1u), tile, tile < tiles);
}

// Barriers behind what is published let a workgroup's own subgroups get there before others of it wait.
@compute @workgroup_size(${threads})
@diagnostic(off, subgroup_uniformity)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let me = wg.x;
  let lane = thread % 32u;
  let team = thread / 32u;
  ${qkv.begin}
  ${rows === 1 ? '' : `let count = min(num_tokens(), ${rows}u);`}
  ${inputs.ask}
  take_over(me * ${threads}u + thread, ${workgroups * threads}u);
  ${attention.place}
  ${inputs.first}
  ${qkv.finish}
  ${output.begin}
  ${attention.begin}
  workgroupBarrier();
  ${attention.finish}
  workgroupBarrier();
  ${attended.first}
  ${output.finish}
  ${gateUp.begin}
  workgroupBarrier();
  ${branch.first}
  ${gateUp.finish}
  ${down.begin}
  workgroupBarrier();
  ${gated.first}
  ${down.finish}
  ${across > 1
? `workgroupBarrier();
  ${sharedSums(shape, products.down, box)}`
: ''}
}
`
  })
}
