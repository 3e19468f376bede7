import { dot } from './matmul.ts'

interface Sizes {
  readonly dim: number
  readonly hiddenDim: number
  readonly numLayers: number
  readonly numHeads: number
  readonly numKVHeads: number
  readonly vocabSize: number
  readonly seqLen: number
}

interface LayerWeights { readonly [kind: string]: Float32Array }

/**
 * llama2.c's model as its `run.c` computes it, in float64 and plain loops: reads the checkpoint's own layout (version 0), rotates
 * neighbouring elements of a head by angles of its own, and knows no product code.
 */
export class ReferenceLlama2c {
  readonly sizes: Sizes
  readonly #embedding: Float32Array
  readonly #layers: readonly LayerWeights[]
  readonly #finalNorm: Float32Array
  readonly #head: Float32Array
  readonly #keys: number[][]
  readonly #values: number[][]

  /** `bytes`: exactly the checkpoint. */
  constructor (bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const [dim = 0, hiddenDim = 0, numLayers = 0, numHeads = 0, numKVHeads = 0, vocab = 0, seqLen = 0] =
      Array.from({ length: 7 }, (_, i) => view.getInt32(4 * i, true))
    this.sizes = { dim, hiddenDim, numLayers, numHeads, numKVHeads, vocabSize: Math.abs(vocab), seqLen }
    let at = 28
    const take = (length: number): Float32Array => {
      const values = Float32Array.from({ length }, (_, i) => view.getFloat32(at + 4 * i, true))
      at += 4 * length
      return values
    }
    const perLayer = (length: number) => Array.from({ length: numLayers }, () => take(length))
    const kvDim = dim / numHeads * numKVHeads
    this.#embedding = take(this.sizes.vocabSize * dim)
    const kinds = {
      attentionNorm: perLayer(dim),
      query: perLayer(dim * dim),
      key: perLayer(kvDim * dim),
      value: perLayer(kvDim * dim),
      output: perLayer(dim * dim),
      mlpNorm: perLayer(dim),
      w1: perLayer(hiddenDim * dim),
      w2: perLayer(hiddenDim * dim),
      w3: perLayer(hiddenDim * dim)
    }
    this.#layers = Array.from({ length: numLayers }, (_, layer) =>
      Object.fromEntries(Object.entries(kinds).map(([kind, layers]) => [kind, layers[layer] ?? new Float32Array(0)])))
    this.#finalNorm = take(dim)
    take(seqLen * dim / numHeads) // the two rotary tables, which run.c does not read either
    this.#head = vocab > 0 ? this.#embedding : take(this.sizes.vocabSize * dim)
    if (at !== bytes.byteLength) throw new Error(`the checkpoint has ${bytes.byteLength} bytes, its shape ${at}`)
    this.#keys = this.#layers.map(() => [])
    this.#values = this.#layers.map(() => [])
  }

  /** Logits after `token` at `position`; positions come in order from 0, which begins a new text. */
  forward (token: number, position: number): Float64Array {
    const { dim, numHeads, numKVHeads } = this.sizes
    const headSize = dim / numHeads
    const x = Float64Array.from(this.#embedding.subarray(token * dim, (token + 1) * dim))
    for (const [layer, weights] of this.#layers.entries()) {
      const { attentionNorm = NONE, query = NONE, key = NONE, value = NONE, output = NONE, mlpNorm = NONE, w1 = NONE, w2 = NONE, w3 = NONE } = weights
      const keys = this.#keys[layer] ?? []
      const values = this.#values[layer] ?? []
      if (position === 0) keys.length = values.length = 0
      const normed = rmsNorm(x, attentionNorm)
      const q = rotatePairs(multiply(query, normed), headSize, position)
      keys.push(...rotatePairs(multiply(key, normed), headSize, position))
      values.push(...multiply(value, normed))
      const attended = new Float64Array(dim)
      for (let head = 0; head < numHeads; head++) {
        const kvHead = Math.floor(head * numKVHeads / numHeads)
        const start = (at: number) => (at * numKVHeads + kvHead) * headSize
        const scores: number[] = []
        for (let at = 0; at <= position; at++) {
          let score = 0
          for (let i = 0; i < headSize; i++) score += (q[head * headSize + i] ?? NaN) * (keys[start(at) + i] ?? NaN)
          scores.push(score / Math.sqrt(headSize))
        }
        const largest = Math.max(...scores)
        const exponentials = scores.map(score => Math.exp(score - largest))
        const sum = exponentials.reduce((a, b) => a + b)
        for (let at = 0; at <= position; at++) {
          for (let i = 0; i < headSize; i++) {
            const to = head * headSize + i
            attended[to] = (attended[to] ?? NaN) + (exponentials[at] ?? NaN) / sum * (values[start(at) + i] ?? NaN)
          }
        }
      }
      addInPlace(x, multiply(output, attended))
      const mlpInput = rmsNorm(x, mlpNorm)
      const up = multiply(w3, mlpInput)
      const gated = multiply(w1, mlpInput).map((gate, i) => gate / (1 + Math.exp(-gate)) * (up[i] ?? NaN))
      addInPlace(x, multiply(w2, gated))
    }
    return multiply(this.#head, rmsNorm(x, this.#finalNorm))
  }

  /** The most likely continuation, token by token, the lowest id on a tie. */
  greedy (prompt: readonly number[], numTokens: number): number[] {
    const tokens: number[] = []
    let logits: Float64Array = new Float64Array(0)
    prompt.forEach((token, position) => { logits = this.forward(token, position) })
    while (tokens.length < numTokens) {
      const token = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)))
      tokens.push(token)
      if (tokens.length < numTokens) logits = this.forward(token, prompt.length + tokens.length - 1)
    }
    return tokens
  }
}

const NONE = new Float32Array(0)

function rmsNorm (x: Float64Array, weight: Float32Array): Float64Array {
  const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + 1e-5)
  return x.map((value, i) => value * scale * (weight[i] ?? NaN))
}

/** Row-major `matrix` times `x`. */
function multiply (matrix: Float32Array, x: Float64Array): Float64Array<ArrayBuffer> {
  return Float64Array.from({ length: matrix.length / x.length }, (_, row) => dot(matrix, row * x.length, x, 0, x.length))
}

/** In every head, elements 2i and 2i + 1 turn by position · 10000^(-2i / headSize). */
function rotatePairs (x: Float64Array, headSize: number, position: number): Float64Array {
  const out = new Float64Array(x.length)
  for (let i = 0; i < x.length; i += 2) {
    const angle = position * 10000 ** -(i % headSize / headSize)
    const [first, second] = [x[i] ?? NaN, x[i + 1] ?? NaN]
    out[i] = first * Math.cos(angle) - second * Math.sin(angle)
    out[i + 1] = first * Math.sin(angle) + second * Math.cos(angle)
  }
  return out
}

function addInPlace (x: Float64Array, added: Float64Array): void {
  added.forEach((value, i) => { x[i] = (x[i] ?? NaN) + value })
}
