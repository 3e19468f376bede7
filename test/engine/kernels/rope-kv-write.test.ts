import { ropeKVWrite } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { pagedKVLength, writePagedKV } from '../../reference/paged-kv.ts'
import { rotary, rotaryFrequencies } from '../../reference/rotary.ts'
import { F16_ROUNDING, F16_SMALLEST, F32_ROUNDING, assertClose, assertSameBits } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'

const SEED = 20260704
const THETA = 10_000
const MAX_POSITIONS = 64
const gpu = await GpuHarness.open()

/** Columns `first` to `first + count` of every row of a matrix with rows of `width`. */
function columns (matrix: Float64Array, width: number, first: number, count: number): Float64Array {
  return Float64Array.from({ length: matrix.length / width * count }, (_, i) => matrix[Math.floor(i / count) * width + first + i % count] ?? NaN)
}

function rotationTable (frequencies: Float64Array): Float64Array {
  return Float64Array.from({ length: MAX_POSITIONS * frequencies.length * 2 }, (_, i) => {
    const pair = Math.floor(i / 2)
    const angle = Math.floor(pair / frequencies.length) * (frequencies[pair % frequencies.length] ?? NaN)
    return i % 2 === 0 ? Math.cos(angle) : Math.sin(angle)
  })
}

for (const storage of ['f32', 'f16'] as const) {
  gpuTest(`rope_kv_write rotates, scales and scatters into ${storage} blocks, and touches no other slot`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    // 64 pairs are one workgroup: some of these fill several, the last ends inside one.
    for (const [headDim, numHeads, numKVHeads, blockSize] of [[32, 4, 1, 16], [48, 3, 3, 8], [64, 6, 2, 16], [128, 2, 1, 4]] as const) {
      const message = `head dim ${headDim}, ${numHeads} heads on ${numKVHeads}`
      const shape = { numBlocks: 6, blockSize, numKVHeads, headDim }
      const slotMapping = random.shuffled(Array.from({ length: shape.numBlocks * blockSize }, (_, slot) => slot)).slice(0, 9)
      const positions = [0, 1, 63, 17, 17, 5, 40, 62, 2]
      const width = (numHeads + 2 * numKVHeads) * headDim
      const qkv = stored(random.normals(9 * width), 'f32')
      const frequencies = rotaryFrequencies(headDim, THETA)
      const q = await gpu.poisoned(9 * numHeads * headDim, 'f32')
      const kv = await gpu.poisoned(pagedKVLength(shape), storage)
      await gpu.run(ropeKVWrite, {
        storage,
        overrides: { NUM_HEADS: numHeads, NUM_KV_HEADS: numKVHeads, HEAD_DIM: headDim, ROTARY_DIM: headDim, BLOCK_SIZE: blockSize, SCALE: 1 / Math.sqrt(headDim) },
        buffers: {
          qkv: await gpu.upload(qkv, 'f32'),
          rotation: await gpu.upload(rotationTable(frequencies), 'f32'),
          step: await gpu.step({ tokens: positions.map((position, i) => ({ token: 0, stateRow: 0, position, slot: slotMapping[i] ?? 0 })) }),
          q,
          kv
        },
        grid: [Math.ceil(width / 2 / 64), 9, 1]
      })
      const query = rotary(columns(qkv, width, 0, numHeads * headDim), positions, frequencies).map(x => x / Math.sqrt(headDim))
      // cos and sin round to f32 once, the two products and their sum once each, the scaling once: 5 roundings of |a| + |b| < 9.
      const arithmetic = 5 * F32_ROUNDING * 9
      assertClose(t, await gpu.download(q, query.length, 'f32'), query, () => arithmetic, `queries, ${message}`)

      const expected = new Float64Array(pagedKVLength(shape)).fill(NaN)
      const keys = rotary(columns(qkv, width, numHeads * headDim, numKVHeads * headDim), positions, frequencies)
      writePagedKV(expected, shape, keys, columns(qkv, width, (numHeads + numKVHeads) * headDim, numKVHeads * headDim), slotMapping)
      const written = await gpu.download(kv, expected.length, storage)
      t.strictSame(written.map(x => Number(Number.isNaN(x))), expected.map(x => Number(Number.isNaN(x))), `only the mapped slots are written, ${message}`)
      const zeroForNaN = (values: Float64Array): Float64Array => values.map(x => Number.isNaN(x) ? 0 : x)
      assertClose(t, zeroForNaN(written), zeroForNaN(expected),
        i => arithmetic + (storage === 'f16' ? Math.abs(expected[i] || 0) * F16_ROUNDING + F16_SMALLEST : 0), `keys and values, ${message}`)
    }
  })
}

gpuTest('a token\'s query, key and value have the same bits alone and among neighbours', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const shape = { numBlocks: 2, blockSize: 4, numKVHeads: 2, headDim: 32 }
  const width = 8 * 32
  const qkv = stored(random.normals(5 * width), 'f32')
  const rotation = await gpu.upload(rotationTable(rotaryFrequencies(32, THETA)), 'f32')
  const write = async (tokens: readonly number[], kv: GPUBuffer): Promise<Uint32Array> => {
    const q = await gpu.poisoned(tokens.length * 4 * 32, 'f32')
    await gpu.run(ropeKVWrite, {
      overrides: { NUM_HEADS: 4, NUM_KV_HEADS: 2, HEAD_DIM: 32, ROTARY_DIM: 32, BLOCK_SIZE: 4, SCALE: 0.25 },
      buffers: {
        qkv: await gpu.upload(tokens.flatMap(token => [...qkv.subarray(token * width, (token + 1) * width)]), 'f32'),
        rotation,
        step: await gpu.step({ tokens: tokens.map(token => ({ token: 0, stateRow: 0, position: 10 + token, slot: 7 - token })) }),
        q,
        kv
      },
      grid: [2, tokens.length, 1]
    })
    return gpu.bits(q, tokens.length * 4 * 32, 'f32')
  }
  const together = await gpu.poisoned(pagedKVLength(shape), 'f32')
  const apart = await gpu.poisoned(pagedKVLength(shape), 'f32')
  const all = await write([0, 1, 2, 3, 4], together)
  for (const token of [3, 0, 4, 2, 1]) assertSameBits(t, await write([token], apart), all.subarray(token * 128, (token + 1) * 128), `query of token ${token}`)
  assertSameBits(t, await gpu.bits(apart, pagedKVLength(shape), 'f32'), await gpu.bits(together, pagedKVLength(shape), 'f32'), 'keys and values')
})
