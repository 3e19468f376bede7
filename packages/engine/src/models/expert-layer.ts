import type { ExpertConfig } from '../layers/expert-mlp.ts'
import type { ModelConfig } from './model-config.ts'

/** A model's experts as its layers take them. @throws TypeError for a model without */
export function expertConfig ({ experts, hiddenSize, activation }: ModelConfig): ExpertConfig {
  if (experts === undefined) throw new TypeError('the model has no experts')
  const { count, perToken, intermediateSize, normalizeTopK } = experts
  return { numExperts: count, expertsPerToken: perToken, intermediateSize, hiddenSize, normalizeTopK, activation }
}
