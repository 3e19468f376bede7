import type { Test } from 'tap'
import { plainSum } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import type { SeededRandom } from '../../fakes/seeded-random.ts'
import { pagedKVLength, writePagedKV } from '../../reference/paged-kv.ts'
import { rotary, rotaryFrequencies } from '../../reference/rotary.ts'
import { F16_ROUNDING, F16_SMALLEST, assertClose } from './assert-close.ts'
import type { GpuHarness } from './gpu-harness.ts'
import { matmulProblem } from './matmul-problem.ts'
import type { TokenRecord } from './step-records.ts'
import { inLayout } from './weight-order.ts'

const [BLOCK_SIZE, SCALE, MAX_POSITIONS] = [8, 0.25, 64]

export interface RotaryHeads { readonly headDim: number, readonly numHeads: number, readonly numKVHeads: number, readonly turns: boolean }

/** Tokens whose queries, keys and values are projected, turned and written, and what should come of it. */
export interface RotaryScene {
  /** `[token][k]`, what x stands for. */
  readonly x: Float64Array
  readonly k: number
  readonly width: number
  readonly tokens: readonly TokenRecord[]
  readonly overrides: { readonly K: number, readonly OWN_COLUMNS: number, readonly BIAS: number, readonly NUM_HEADS: number, readonly NUM_KV_HEADS: number, readonly HEAD_DIM: number, readonly TURNS: number, readonly BLOCK_SIZE: number, readonly SCALE: number }
  readonly buffers: { readonly weight: GPUBuffer, readonly bias: GPUBuffer, readonly step: GPUBuffer, readonly rotation: GPUBuffer, readonly q: GPUBuffer, readonly kv: GPUBuffer }
  readonly check: (t: Test, name: string) => Promise<void>
}

/** @param x `[token][k]`; default: normals in f16 */
export async function rotaryScene (gpu: GpuHarness, random: SeededRandom, { headDim, numHeads, numKVHeads, turns }: RotaryHeads, { k, count, x, roundings }: { readonly k: number, readonly count: number, readonly x?: Float64Array, readonly roundings?: number }): Promise<RotaryScene> {
  const width = (numHeads + 2 * numKVHeads) * headDim
  const BIAS = turns ? 1 : 0
  const problem = matmulProblem(random, { rows: count, k, n: width }, { epilogue: 'store', finish: { ...plainSum, BIAS }, ...x === undefined ? {} : { x }, ...roundings === undefined ? {} : { roundings } })
  const shape = { numBlocks: Math.ceil(count / BLOCK_SIZE) + 3, blockSize: BLOCK_SIZE, numKVHeads, headDim }
  const slots = random.shuffled(Array.from({ length: shape.numBlocks * BLOCK_SIZE }, (_, slot) => slot)).slice(0, count)
  const tokens = slots.map((slot, i) => ({ token: 0, stateRow: 0, position: (37 + 5 * i) % MAX_POSITIONS, slot }))
  const frequencies = rotaryFrequencies(headDim, 10_000)
  const table = Float64Array.from({ length: MAX_POSITIONS * headDim }, (_, i) => {
    const angle = Math.floor(i / headDim) * (frequencies[Math.floor(i % headDim / 2)] ?? NaN)
    return i % 2 === 0 ? Math.cos(angle) : Math.sin(angle)
  })
  const q = await gpu.poisoned(count * numHeads * headDim, 'f16')
  const kv = await gpu.poisoned(pagedKVLength(shape), 'f16')

  const columns = (first: number, heads: number): Float64Array =>
    Float64Array.from({ length: count * heads * headDim }, (_, i) => problem.expected[Math.floor(i / heads / headDim) * width + first * headDim + i % (heads * headDim)] ?? NaN)
  const turned = (values: Float64Array): Float64Array => turns ? rotary(values, tokens.map(({ position }) => position), frequencies) : values
  const queries = turned(columns(0, numHeads)).map(value => value * SCALE)
  const cache = new Float64Array(pagedKVLength(shape)).fill(NaN)
  writePagedKV(cache, shape, turned(columns(numHeads, numKVHeads)), columns(numHeads + numKVHeads, numKVHeads), slots)
  // A turn mixes the errors of two outputs, and rounds a few times itself.
  const error = 2 * problem.expected.reduce((most, _, i) => Math.max(most, problem.tolerance(i)), 0) + 2 ** -20
  const halves = (value: number): number => Math.abs(value) * F16_ROUNDING + F16_SMALLEST

  return {
    x: problem.x,
    k,
    width,
    tokens,
    overrides: { K: k, OWN_COLUMNS: width, BIAS, NUM_HEADS: numHeads, NUM_KV_HEADS: numKVHeads, HEAD_DIM: headDim, TURNS: Number(turns), BLOCK_SIZE, SCALE },
    buffers: {
      weight: await gpu.upload(inLayout(problem.weight, k, 'tiled'), 'f16'),
      bias: await gpu.upload(problem.bias, 'f32'),
      step: await gpu.step({ tokens }),
      rotation: await gpu.upload(turns ? table : [NaN], 'f32'),
      q,
      kv
    },
    async check (t, name) {
      assertClose(t, await gpu.download(q, queries.length, 'f16'), queries, i => error * SCALE + halves(queries[i] ?? NaN), `queries, ${name}`)
      const written = await gpu.download(kv, cache.length, 'f16')
      t.strictSame(written.map(value => Number(Number.isNaN(value))), cache.map(value => Number(Number.isNaN(value))), `only the tokens' slots are written, ${name}`)
      const zeroForNaN = (values: Float64Array): Float64Array => values.map(value => Number.isNaN(value) ? 0 : value)
      assertClose(t, zeroForNaN(written), zeroForNaN(cache), i => error + halves(cache[i] || 0), `keys and values, ${name}`)
    }
  }
}

/** Half a tile and its other half lie in one head of two tiles, of four, of eight, of six; heads that share keys or do not. */
export const rotaryHeads: readonly RotaryHeads[] = [
  { headDim: 32, numHeads: 4, numKVHeads: 1, turns: true },
  { headDim: 64, numHeads: 6, numKVHeads: 2, turns: true },
  { headDim: 128, numHeads: 2, numKVHeads: 1, turns: false },
  { headDim: 96, numHeads: 3, numKVHeads: 3, turns: true }
]
