import type { Test } from 'tap'
import { emptySet, exchangeLayout } from '../../../../packages/engine/src/kernels/layer/layer-exchange.ts'
import type { WholeLayerShape } from '../../../../packages/engine/src/kernels/layer/layer-shape.ts'
import { wholeLayer } from '../../../../packages/engine/src/kernels/layer/whole-layer.ts'
import type { SeededRandom } from '../../../fakes/seeded-random.ts'
import { stored } from '../../../reference/float16.ts'
import { siluGate } from '../../../reference/gated-mlp.ts'
import { matmul } from '../../../reference/matmul.ts'
import { pagedAttention } from '../../../reference/paged-attention.ts'
import { pagedKVLength, slotOf, writePagedKV } from '../../../reference/paged-kv.ts'
import { rmsNorm } from '../../../reference/rms-norm.ts'
import { rotary, rotaryFrequencies } from '../../../reference/rotary.ts'
import { F16_ROUNDING, F16_SMALLEST, assertClose } from '../assert-close.ts'
import type { GpuHarness } from '../gpu-harness.ts'
import { inLayout } from '../weight-order.ts'

const [BLOCK_SIZE, EPS] = [16, 1e-5]
/** Enough for a busy machine, whose threads take turns. */
const PATIENCE = 2 ** 27

/** A layer's random weights, and the sets that its tokens take in turns as two layers would. */
export interface LayerScene {
  /** Runs tokens with so many keys, a row each, and compares the residual stream, and what became of the KV cache. */
  readonly tokens: (t: Test, contexts: readonly number[], window: number) => Promise<void>
  /** Runs two layers with one workgroup too few, and little patience; says which sets have a stall's mark, and the second's residual stream. */
  readonly short: () => Promise<{ readonly marks: readonly number[], readonly x: Float64Array }>
}

/** @param longest most keys of a token */
export async function layerScene (gpu: GpuHarness, random: SeededRandom, shape: WholeLayerShape, longest: number): Promise<LayerScene> {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, qkvBias, qkNorm, rows, workgroups } = shape
  const width = (numHeads + 2 * numKVHeads) * headDim
  const weight = (rows: number, k: number): Float64Array => stored(random.normals(rows * k).map(value => value / Math.sqrt(k)), 'f16')
  const near1 = (length: number): Float64Array => stored(random.normals(length).map(value => 1 + value / 5), 'f32')
  const weights = { qkv: weight(width, hiddenSize), output: weight(hiddenSize, numHeads * headDim), gateUp: weight(2 * intermediateSize, hiddenSize), down: weight(hiddenSize, intermediateSize) }
  const norms = { attention: near1(hiddenSize), mlp: near1(hiddenSize), heads: near1(2 * headDim) }
  const bias = stored(random.normals(width), 'f32')
  const frequencies = rotaryFrequencies(headDim, 10_000)
  const numBlocks = rows * 2 * Math.ceil(longest / BLOCK_SIZE) + 1
  const cacheShape = { numBlocks, blockSize: BLOCK_SIZE, numKVHeads, headDim }
  const blocks = random.shuffled(Array.from({ length: numBlocks }, (_, block) => block))
  const perRow = Math.ceil(longest / BLOCK_SIZE)
  const tableOf = (row: number): number[] => blocks.slice(row * perRow, (row + 1) * perRow)
  const { words } = exchangeLayout(shape)
  const exchange = await gpu.upload([...emptySet(words, PATIENCE), ...emptySet(words, PATIENCE)], 'u32')
  const upload = async (values: Float64Array, k: number): Promise<GPUBuffer> => await gpu.upload(inLayout(values, k, 'tiled'), 'f16')
  const fixed = {
    norm_attention: await gpu.upload(norms.attention, 'f32'),
    norm_mlp: await gpu.upload(norms.mlp, 'f32'),
    bias: await gpu.upload(bias, 'f32'),
    qk_norm: await gpu.upload(norms.heads, 'f32'),
    rotation: await gpu.upload(Float64Array.from({ length: longest * headDim }, (_, i) => {
      const angle = Math.floor(i / headDim) * (frequencies[Math.floor(i % headDim / 2)] ?? NaN)
      return i % 2 === 0 ? Math.cos(angle) : Math.sin(angle)
    }), 'f32'),
    w_qkv: await upload(weights.qkv, hiddenSize),
    w_output: await upload(weights.output, numHeads * headDim),
    w_gate_up: await upload(weights.gateUp, hiddenSize),
    w_down: await upload(weights.down, intermediateSize)
  }
  let turn = 0
  /** Keys and values of tokens' contexts but their own, which are NaN as all that no token has written. */
  const someCache = (contexts: readonly number[]): Float64Array => {
    const cache = new Float64Array(pagedKVLength(cacheShape)).fill(NaN)
    for (const [row, context] of contexts.entries()) {
      const before = Array.from({ length: context - 1 }, (_, position) => slotOf(tableOf(row), position, BLOCK_SIZE))
      writePagedKV(cache, cacheShape, stored(random.normals(before.length * numKVHeads * headDim), 'f16'), stored(random.normals(before.length * numKVHeads * headDim), 'f16'), before)
    }
    return cache
  }
  const run = async (x: Float64Array, cache: Float64Array, contexts: readonly number[], window: number, grid: number): Promise<{ readonly x: GPUBuffer, readonly kv: GPUBuffer }> => {
    const buffers = { x: await gpu.upload(x, 'f32'), kv: await gpu.upload(cache, 'f16') }
    const set = (index: number): GPUBufferBinding => ({ buffer: exchange, offset: index % 2 * 4 * words, size: 4 * words })
    await gpu.run(wholeLayer(shape), {
      storage: 'f16',
      activation: 'f16',
      overrides: { EPS, SCALE: 1 / Math.sqrt(headDim), BLOCK_SIZE, WINDOW: window },
      buffers: {
        ...fixed,
        ...buffers,
        step: await gpu.step({
          tokens: contexts.map((context, row) => ({ token: 0, stateRow: row, position: context - 1, slot: slotOf(tableOf(row), context - 1, BLOCK_SIZE) })),
          singles: contexts.map((context, row) => ({ tokenRow: row, table: row * perRow, context, partial: 0 })),
          tables: contexts.flatMap((_, row) => tableOf(row))
        }),
        exchange: set(turn),
        emptied: set(turn + 1)
      },
      grid: [grid, 1, 1]
    })
    turn++
    return buffers
  }

  return {
    async tokens (t, contexts, window) {
      // The rows behind the last belong to nobody, and there is always one.
      const [x, cache] = [stored(random.normals((rows + 1) * hiddenSize), 'f32'), someCache(contexts)]
      const ran = await run(x, cache, contexts, window, workgroups)
      const after = await gpu.download(ran.x, x.length, 'f32')
      const name = `${numHeads} heads on ${numKVHeads} of ${headDim}, ${contexts.join(', ')} keys, window ${window}`
      const before = cache.slice()
      for (const [row, context] of contexts.entries()) {
        const own = (all: Float64Array): Float64Array => all.slice(row * hiddenSize, (row + 1) * hiddenSize)
        const expected = expectedOf(own(x), before, tableOf(row), context, window)
        assertClose(t, own(after), expected.after, expected.tolerance, `the residual stream of row ${row}, ${name}`)
        writePagedKV(cache, cacheShape, expected.keys, expected.values, [slotOf(tableOf(row), context - 1, BLOCK_SIZE)])
      }
      t.strictSame(after.slice(contexts.length * hiddenSize), x.slice(contexts.length * hiddenSize), `no row is written that is none, ${name}`)
      const written = await gpu.download(ran.kv, cache.length, 'f16')
      t.equal(written.findIndex((value, i) => Number.isNaN(value) !== Number.isNaN(cache[i])), -1, `only the tokens' slots are written, ${name}`)
      const zeroForNaN = (all: Float64Array): Float64Array => all.map(value => Number.isNaN(value) ? 0 : value)
      // A norm's rounding, and that of what is written.
      assertClose(t, zeroForNaN(written), zeroForNaN(cache), i => Math.abs(cache[i] || 0) * F16_ROUNDING + 8 * F16_ROUNDING, `keys and values, ${name}`)
    },
    async short () {
      for (const set of [0, 1]) gpu.device.queue.writeBuffer(exchange, set * 4 * words, emptySet(words, 300))
      await run(stored(random.normals(hiddenSize), 'f32'), someCache([1]), [1], 0, workgroups - 1)
      for (const set of [0, 1]) gpu.device.queue.writeBuffer(exchange, set * 4 * words + 4, new Uint32Array([2 ** 32 - 1]))
      const { x } = await run(stored(random.normals(hiddenSize), 'f32'), someCache([1]), [1], 0, workgroups - 1)
      const seen = await gpu.bits(exchange, 2 * words, 'u32')
      return { marks: [seen[0] ?? NaN, seen[words] ?? NaN], x: await gpu.download(x, hiddenSize, 'f32') }
    }
  }

  function expectedOf (x: Float64Array, before: Float64Array, table: readonly number[], context: number, window: number) {
    const cache = before.slice()
    const projected = matmul(rmsNorm(x, norms.attention, EPS), weights.qkv, hiddenSize, qkvBias ? { bias } : {})
    const part = (first: number, heads: number): Float64Array => projected.slice(first * headDim, (first + heads) * headDim)
    const normed = (rows: Float64Array, which: number): Float64Array => qkNorm ? rmsNorm(rows, norms.heads.slice(which * headDim, (which + 1) * headDim), EPS) : rows
    const position = [context - 1]
    const queries = rotary(normed(part(0, numHeads), 0), position, frequencies)
    const keys = rotary(normed(part(numHeads, numKVHeads), 1), position, frequencies)
    const values = part(numHeads + numKVHeads, numKVHeads)
    writePagedKV(cache, cacheShape, keys, values, [slotOf(table, context - 1, BLOCK_SIZE)])
    const attended = pagedAttention(queries, cache, cacheShape, numHeads, [{ startPosition: context - 1, numTokens: 1, blockTable: table }], window === 0 ? {} : { window })
    const middle = matmul(attended, weights.output, numHeads * headDim, { residual: x })
    const gateUp = matmul(rmsNorm(middle, norms.mlp, EPS), weights.gateUp, hiddenSize)
    const gated = siluGate(gateUp.slice(0, intermediateSize), gateUp.slice(intermediateSize))
    const after = matmul(gated, weights.down, intermediateSize, { residual: middle })
    // Four times something is rounded to f16 before it is multiplied, and errors of the first go through what follows; together they stay below as much again in every term.
    const magnitude = (row: number, of: Float64Array, by: Float64Array): number => by.reduce((sum, value, j) => sum + Math.abs(value * (of[row * by.length + j] ?? NaN)), 0)
    const tolerance = (row: number): number => F16_ROUNDING * (magnitude(row, weights.output, attended) + magnitude(row, weights.down, gated)) + F16_SMALLEST
    return { after, keys, values, tolerance }
  }
}
