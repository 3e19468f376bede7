import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { readSafetensors } from './read-safetensors.ts'
import type { Weights } from './read-safetensors.ts'

const LlamaConfigFile = z.object({
  hidden_size: z.number(),
  intermediate_size: z.number(),
  num_hidden_layers: z.number(),
  num_attention_heads: z.number(),
  num_key_value_heads: z.number(),
  head_dim: z.number(),
  vocab_size: z.number(),
  rms_norm_eps: z.number(),
  rope_theta: z.number(),
  tie_word_embeddings: z.boolean()
})
const IndexFile = z.object({ weight_map: z.record(z.string(), z.string()) })

export interface LlamaConfig {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numLayers: number
  readonly numHeads: number
  readonly numKVHeads: number
  readonly headDim: number
  readonly vocabSize: number
  readonly rmsNormEps: number
  readonly ropeTheta: number
  readonly tiedEmbeddings: boolean
}

export interface LlamaModel { readonly config: LlamaConfig; readonly weights: Weights }

/** Reads a Hugging Face directory: `config.json`, and `model.safetensors` or the shards its index names. */
export function readLlamaModel (directory: string): LlamaModel {
  const file = LlamaConfigFile.parse(readJson(join(directory, 'config.json')))
  const config = {
    hiddenSize: file.hidden_size,
    intermediateSize: file.intermediate_size,
    numLayers: file.num_hidden_layers,
    numHeads: file.num_attention_heads,
    numKVHeads: file.num_key_value_heads,
    headDim: file.head_dim,
    vocabSize: file.vocab_size,
    rmsNormEps: file.rms_norm_eps,
    ropeTheta: file.rope_theta,
    tiedEmbeddings: file.tie_word_embeddings
  }
  const weights = shardsOf(directory).map(shard => readSafetensors(join(directory, shard)))
  return { config, weights: new Map(weights.flatMap(shard => [...shard])) }
}

function shardsOf (directory: string): readonly string[] {
  const index = join(directory, 'model.safetensors.index.json')
  if (!existsSync(index)) return ['model.safetensors']
  return [...new Set(Object.values(IndexFile.parse(readJson(index)).weight_map))]
}

function readJson (path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'))
}
