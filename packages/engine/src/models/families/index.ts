import { gemma2 } from './gemma2.ts'
import { gemma3, gemma3Vision } from './gemma3.ts'
import { granite } from './granite.ts'
import { llama } from './llama.ts'
import { mistral } from './mistral.ts'
import { mixtral } from './mixtral.ts'
import type { ModelFamily } from './model-family.ts'
import { olmo2 } from './olmo2.ts'
import { phi3 } from './phi3.ts'
import { qwen2 } from './qwen2.ts'
import { qwen3, qwen3Moe } from './qwen3.ts'
import { smollm3 } from './smollm3.ts'

export const MODEL_FAMILIES: readonly ModelFamily[] = Object.freeze([
  llama, mistral, qwen2, qwen3, gemma2, gemma3, gemma3Vision, phi3, smollm3, olmo2, granite, mixtral, qwen3Moe
])

export const SUPPORTED_ARCHITECTURES: readonly string[] = Object.freeze(MODEL_FAMILIES.flatMap(({ architectures }) => architectures))
