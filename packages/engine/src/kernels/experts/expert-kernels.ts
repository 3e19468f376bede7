/** The kernels of a mixture of experts that are one shader file each; the products are generated: expert-matmul.ts. */
import { defineKernel } from '../define-kernel.ts'
import { readShader } from '../shader-source.ts'

/**
 * The router's product, in f32 whatever the weights are stored as.
 *
 * Bytes: 4·E·hidden for every 4 tokens, from the cache after the first. Operations: 2·T·E·hidden. A kernel of its own, because one
 * token's router is up to 1 MiB and more than one core can stream.
 */
export const routeLogits = defineKernel({
  name: 'route_logits',
  bindings: { x: 'read', router: 'read', step: 'read', logits: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'NUM_EXPERTS'],
  wgsl: readShader('route_logits')
})

/**
 * The `TOP_K` most likely experts of each token and their shares, softmax over all experts first, as transformers' Mixtral and
 * Qwen3-MoE routers do. A larger logit is a larger probability, so experts are ranked by logit: probabilities that round to the
 * same f32 keep their order.
 *
 * Bytes: 4·T·(E + 2k). Operations: T·E² comparisons: each expert counts those that come before it, with no barrier in between.
 */
export const routeExperts = defineKernel({
  name: 'route_experts',
  bindings: { logits: 'read', step: 'read', chosen: 'read_write', share: 'read_write', pairs: 'read_write', tiles: 'read_write' },
  overrides: ['NUM_EXPERTS', 'TOP_K', 'NORMALIZE', 'SINGLES', 'THREADS'],
  wgsl: readShader('route_experts')
})

/**
 * The (token, slot) pairs in the order of their experts, and the tiles the products work through. Integers only, so the result is
 * the same in whatever order threads run. Dispatch one workgroup per expert, also for experts that nobody chose.
 *
 * Bytes: 4·T·k, read twice by each of E workgroups, from the cache. Operations: 2·E·T·k comparisons.
 */
export const groupExperts = defineKernel({
  name: 'group_experts',
  bindings: { chosen: 'read', step: 'read', pairs: 'read_write', tiles: 'read_write' },
  overrides: ['NUM_EXPERTS', 'TOP_K', 'TILE_ROWS', 'THREADS'],
  wgsl: readShader('group_experts')
})

/**
 * Adds the chosen experts' outputs to the residual stream, weighted by their shares, in a fixed order (batch invariant).
 *
 * Bytes: 4·T·hidden·(k + 2). Operations: 2·T·k·hidden.
 */
export const combineExperts = defineKernel({
  name: 'combine_experts',
  bindings: { y: 'read', share: 'read', step: 'read', residual: 'read_write' },
  overrides: ['HIDDEN_SIZE', 'TOP_K'],
  wgsl: readShader('combine_experts')
})
