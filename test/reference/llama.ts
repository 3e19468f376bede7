import { embedding } from './embedding.ts'
import { roundInPlace } from './float16.ts'
import type { StorageType } from './float16.ts'
import { gatedMlp } from './gated-mlp.ts'
import { dot, matmul } from './matmul.ts'
import type { LlamaConfig, LlamaModel } from './read-model.ts'
import type { Weights } from './read-safetensors.ts'
import { addRmsNorm } from './rms-norm.ts'
import { rotary, rotaryFrequencies } from './rotary.ts'

export interface LlamaStorage {
  /** What keys and values are rounded to when they enter the cache; undefined keeps float64. */
  readonly kv?: StorageType
}

/** Keys and values of one sequence, per layer `[position][kvHead][headDim]`, contiguous and unbounded. */
export interface ContiguousCache {
  /** Tokens held. */
  length: number
  readonly keys: Float64Array[]
  readonly values: Float64Array[]
}

export interface GreedyResult {
  /** Generated tokens; a stop token that ended the run is the last. */
  readonly tokens: readonly number[]
  /** Smallest gap between the two largest logits over all steps: how much error the tokens withstand. */
  readonly smallestMargin: number
}

/**
 * `LlamaForCausalLM` in plain loops, float64 throughout: what the engine's model is measured against. It knows no blocks, no
 * batches and no product code.
 */
export class ReferenceLlama {
  readonly config: LlamaConfig
  readonly #weights: Weights
  readonly #storage: LlamaStorage
  readonly #frequencies: Float64Array

  constructor ({ config, weights }: LlamaModel, storage: LlamaStorage = {}) {
    this.config = config
    this.#weights = weights
    this.#storage = storage
    this.#frequencies = rotaryFrequencies(config.headDim, config.ropeTheta)
  }

  newCache (): ContiguousCache {
    const perLayer = () => Array.from({ length: this.config.numLayers }, () => new Float64Array(0))
    return { length: 0, keys: perLayer(), values: perLayer() }
  }

  /** Computes `tokens` behind what `cache` holds, appends to it, and returns their final hidden states `[numTokens, hiddenSize]`, normalised. */
  forward (cache: ContiguousCache, tokens: readonly number[]): Float64Array {
    const { hiddenSize, numLayers, rmsNormEps } = this.config
    const residual = embedding(this.#weight('model.embed_tokens.weight'), tokens, hiddenSize)
    let branch: Float64Array = new Float64Array(residual.length)
    for (let layer = 0; layer < numLayers; layer++) {
      const name = `model.layers.${layer}`
      const attentionInput = addRmsNorm(residual, branch, this.#weight(`${name}.input_layernorm.weight`), rmsNormEps)
      branch = this.#attention(cache, layer, attentionInput, tokens.length)
      const mlpInput = addRmsNorm(residual, branch, this.#weight(`${name}.post_attention_layernorm.weight`), rmsNormEps)
      branch = gatedMlp(mlpInput, {
        gate: this.#weight(`${name}.mlp.gate_proj.weight`),
        up: this.#weight(`${name}.mlp.up_proj.weight`),
        down: this.#weight(`${name}.mlp.down_proj.weight`)
      }, hiddenSize)
    }
    cache.length += tokens.length
    return addRmsNorm(residual, branch, this.#weight('model.norm.weight'), rmsNormEps)
  }

  /** Logits `[numTokens, vocabSize]` of what `forward` returned, or of any of its rows. */
  logits (hidden: Float64Array): Float64Array {
    const head = this.config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'
    return matmul(hidden, this.#weight(head), this.config.hiddenSize)
  }

  /** Logits after the last of `tokens`. */
  lastLogits (cache: ContiguousCache, tokens: readonly number[]): Float64Array {
    return this.logits(this.forward(cache, tokens).slice(-this.config.hiddenSize))
  }

  /** Continues the prompt by the most likely token, the lowest id on a tie, until a stop token or `maxNewTokens`. */
  greedy (promptTokens: readonly number[], maxNewTokens: number, stopTokens: readonly number[] = []): GreedyResult {
    const cache = this.newCache()
    const tokens: number[] = []
    let next = promptTokens
    let smallestMargin = Infinity
    while (tokens.length < maxNewTokens) {
      const { token, margin } = topTwo(this.lastLogits(cache, next))
      tokens.push(token)
      smallestMargin = Math.min(smallestMargin, margin)
      if (stopTokens.includes(token)) break
      next = [token]
    }
    return { tokens, smallestMargin }
  }

  #attention (cache: ContiguousCache, layer: number, x: Float64Array, numTokens: number): Float64Array {
    const { hiddenSize, numHeads, numKVHeads, headDim } = this.config
    const name = `model.layers.${layer}.self_attn`
    const project = (projection: string) => matmul(x, this.#weight(`${name}.${projection}.weight`), hiddenSize)
    const positions = Array.from({ length: numTokens }, (_, i) => cache.length + i)
    const query = rotary(project('q_proj'), positions, this.#frequencies)
    const keys = this.#append(cache.keys, layer, rotary(project('k_proj'), positions, this.#frequencies))
    const values = this.#append(cache.values, layer, project('v_proj'))
    const out = new Float64Array(query.length)
    for (const [token, position] of positions.entries()) {
      for (let head = 0; head < numHeads; head++) {
        const queryStart = (token * numHeads + head) * headDim
        const kvHead = Math.floor(head / (numHeads / numKVHeads))
        const kvStart = (at: number) => (at * numKVHeads + kvHead) * headDim
        const scores = Float64Array.from({ length: position + 1 }, (_, at) =>
          dot(query, queryStart, keys, kvStart(at), headDim) / Math.sqrt(headDim))
        softmaxInPlace(scores)
        for (let at = 0; at <= position; at++) {
          const weight = scores[at] ?? NaN
          const valueStart = kvStart(at)
          for (let i = 0; i < headDim; i++) {
            out[queryStart + i] = (out[queryStart + i] ?? NaN) + weight * (values[valueStart + i] ?? NaN)
          }
        }
      }
    }
    return matmul(out, this.#weight(`${name}.o_proj.weight`), numHeads * headDim)
  }

  #append (layers: Float64Array[], layer: number, added: Float64Array): Float64Array {
    if (this.#storage.kv !== undefined) roundInPlace(added, this.#storage.kv)
    const held = layers[layer] ?? new Float64Array(0)
    const joined = new Float64Array(held.length + added.length)
    joined.set(held)
    joined.set(added, held.length)
    layers[layer] = joined
    return joined
  }

  #weight (name: string): Float32Array {
    const weight = this.#weights.get(name)
    if (weight === undefined) throw new Error(`the model has no tensor ${name}`)
    return weight
  }
}

function softmaxInPlace (scores: Float64Array): void {
  let largest = -Infinity
  for (const score of scores) largest = Math.max(largest, score)
  let sum = 0
  for (let i = 0; i < scores.length; i++) sum += scores[i] = Math.exp((scores[i] ?? NaN) - largest)
  for (let i = 0; i < scores.length; i++) scores[i] = (scores[i] ?? NaN) / sum
}

function topTwo (logits: Float64Array): { token: number; margin: number } {
  let token = 0
  let first = -Infinity
  let second = -Infinity
  logits.forEach((logit, id) => {
    if (logit > first) {
      second = first
      first = logit
      token = id
    } else if (logit > second) second = logit
  })
  return { token, margin: first - second }
}
