/** The kernels that are one shader file each. The matrix and attention kernels are generated: matmul/, attention/. */
import { defineKernel } from './define-kernel.ts'
import { readShader } from './shader-source.ts'

/** x[t] = SCALE · E[token(t)], the residual stream's first value. */
export const embedding = defineKernel({
  name: 'embedding',
  bindings: { table: 'read', sampled: 'read', step: 'read', x: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'FIRST_ROW', 'ROWS', 'SCALE', 'LAYOUT'],
  wgsl: readShader('embedding')
})

/** Both that and the norm behind it. */
export const embeddingNorm = defineKernel({
  name: 'embedding_norm',
  bindings: { table: 'read', sampled: 'read', weight: 'read', step: 'read', x: 'read_write', y: 'read_write', row_scales: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'ROWS', 'SCALE', 'LAYOUT', 'EPS', 'THREADS', 'LEFT_ROWS'],
  wgsl: readShader('embedding_norm')
})

/** y = x / rms(x) · weight, row by row; rows are independent (batch invariant). */
export const rmsNorm = defineKernel({
  name: 'rms_norm',
  bindings: { x: 'read', weight: 'read', step: 'read', y: 'read_write', row_scales: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'EPS', 'GATHER', 'THREADS', 'LEFT_AT', 'LEFT_ROWS'],
  wgsl: readShader('rms_norm')
})

/** The same of x plus the parts of a product that were left for it, which x then has. */
export const rmsNormSummed = defineKernel({
  name: 'rms_norm_summed',
  bindings: { x: 'read_write', sums: 'read', weight: 'read', step: 'read', y: 'read_write', row_scales: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'EPS', 'GATHER', 'PARTS', 'PART_ROWS', 'THREADS', 'LEFT_AT', 'LEFT_ROWS'],
  wgsl: readShader('rms_norm_summed')
})

/** x += y / rms(y) · weight: the norm of what a branch adds to the residual stream. */
export const normAdd = defineKernel({
  name: 'norm_add',
  bindings: { y: 'read', weight: 'read', step: 'read', x: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'EPS', 'THREADS'],
  wgsl: readShader('norm_add')
})

/** Normalises queries and keys in place, head by head or whole. */
export const qkNorm = defineKernel({
  name: 'qk_norm',
  bindings: { weight: 'read', step: 'read', qkv: 'read_write' },
  overrides: ['ROW', 'Q_SEGMENTS', 'Q_LENGTH', 'K_LENGTH', 'EPS', 'THREADS'],
  wgsl: readShader('qk_norm')
})

/** y = x in the type of activations. */
export const toActivation = defineKernel({
  name: 'to_activation',
  bindings: { x: 'read', step: 'read', y: 'read_write' },
  overrides: ['HIDDEN_SIZE'],
  wgsl: readShader('to_activation')
})

/** q = x / scale as int8, with the scale of each row: what mma-int8.ts multiplies. */
export const quantizeRows = defineKernel({
  name: 'quantize_rows',
  bindings: { x: 'read', step: 'read', q: 'read_write', scale: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'THREADS'],
  wgsl: readShader('quantize_rows')
})

/** Rotates queries and keys and writes keys and values into their slots, where the projection does not do so itself (matmul/gemv-rotary.ts, matmul/mma-rotary.ts). */
export const ropeKVWrite = defineKernel({
  name: 'rope_kv_write',
  bindings: { qkv: 'read', rotation: 'read', step: 'read', q: 'read_write', kv: 'read_write' },
  overrides: ['NUM_HEADS', 'NUM_KV_HEADS', 'HEAD_DIM', 'ROTARY_DIM', 'BLOCK_SIZE', 'SCALE'],
  wgsl: readShader('rope_kv_write')
})

/** Merges the splits of single query tokens. */
export const attentionReduce = defineKernel({
  name: 'attention_reduce',
  bindings: { partial_out: 'read', partial_max_sum: 'read', step: 'read', y: 'read_write' },
  overrides: ['NUM_HEADS', 'HEAD_DIM', 'WINDOW'],
  wgsl: readShader('attention_reduce')
})

/** The same for rows of more than one split, in an order that depends on how many there are. Heads of at most 512. */
export const attentionMerge = defineKernel({
  name: 'attention_merge',
  bindings: { partial_out: 'read', partial_max_sum: 'read', step: 'read', y: 'read_write' },
  overrides: ['NUM_HEADS', 'HEAD_DIM', 'WINDOW'],
  wgsl: readShader('attention_merge')
})

/** Random weights made on the device. */
export const fillRandom = defineKernel({
  name: 'fill_random',
  bindings: { request: 'read', weight: 'read_write' },
  wgsl: readShader('fill_random')
})
