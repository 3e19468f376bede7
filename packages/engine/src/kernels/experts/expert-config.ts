import { UnsupportedModelError } from '../../errors.ts'

/** A mixture-of-experts MLP, as Mixtral and Qwen3-MoE have one in each layer. */
export interface ExpertConfig {
  /** At most 256. */
  readonly numExperts: number
  /** At most 16. */
  readonly expertsPerToken: number
  /** Of one expert. */
  readonly intermediateSize: number
  readonly hiddenSize: number
  /** Divides the chosen experts' probabilities by their sum: Mixtral always, Qwen3-MoE with `norm_topk_prob`. */
  readonly normalizeTopK: boolean
  readonly activation: 'silu' | 'gelu-tanh'
}

/** What route_experts.wgsl and group_experts.wgsl have workgroup memory for. */
const MAX_EXPERTS = 256
const MAX_EXPERTS_PER_TOKEN = 16

/** @throws UnsupportedModelError for sizes the kernels were not made for */
export function checkExpertConfig (config: ExpertConfig): void {
  const { numExperts, expertsPerToken, intermediateSize, hiddenSize } = config
  const refuse = (field: string, value: number, supported: string): never => { throw new UnsupportedModelError({ field, value, supported }) }
  if (!(Number.isInteger(numExperts) && numExperts >= 1 && numExperts <= MAX_EXPERTS)) refuse('num_experts', numExperts, `1 to ${MAX_EXPERTS}`)
  const most = Math.min(numExperts, MAX_EXPERTS_PER_TOKEN)
  if (!(Number.isInteger(expertsPerToken) && expertsPerToken >= 1 && expertsPerToken <= most)) refuse('num_experts_per_tok', expertsPerToken, `1 to ${most}`)
  // Kernels read vectors of four along the inner dimension.
  if (!(intermediateSize > 0 && intermediateSize % 4 === 0)) refuse('moe_intermediate_size', intermediateSize, 'multiples of 4')
  if (!(hiddenSize > 0 && hiddenSize % 4 === 0)) refuse('hidden_size', hiddenSize, 'multiples of 4')
}
