import { embedding, embeddingNorm, rmsNorm } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { layoutNumber } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { embedding as reference } from '../../reference/embedding.ts'
import { stored } from '../../reference/float16.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { assertSameBits } from './assert-close.ts'
import { DEVICE_TOKEN, countedTokens } from './step-records.ts'
import { inLayout } from './weight-order.ts'

const SEED = 20260701
const gpu = await GpuHarness.open()

// Rows are copied and widened, never computed with: every comparison is exact.
for (const storage of ['f32', 'f16'] as const) {
  for (const layout of ['interleaved', 'tiled'] as const) {
    gpuTest(`embedding gathers ${storage} rows of a table laid out ${layout} and split over buffers`, gpu, async (t, gpu) => {
      t.comment(`seed ${SEED}`)
      const random = new SeededRandom(SEED)
      // 64 vectors are one workgroup: 256 fills it, 272 needs a second, 16 leaves most threads idle.
      for (const hiddenSize of layout === 'tiled' ? [16, 256, 272] : [4, 256, 260]) {
        const parts = [{ first: 0, rows: 16 }, { first: 16, rows: 32 }, { first: 48, rows: 5 }]
        const table = stored(random.normals(53 * hiddenSize), storage)
        const tokens = [0, 52, 15, 16, 47, 48, 7, 7, 33]
        const sampled = await gpu.upload([99, 99], 'u32')
        const step = await gpu.step({ tokens: tokens.map((token, i) => ({ token, stateRow: 0, position: i, slot: i })) })
        // In both orders: a part that also wrote its neighbour's first or last row would be overwritten in one of them.
        for (const ordered of [parts, [...parts].reverse()]) {
          const x = await gpu.poisoned(tokens.length * hiddenSize, 'f32')
          for (const { first, rows } of ordered) {
            const own = table.subarray(first * hiddenSize, (first + rows) * hiddenSize)
            await gpu.run(embedding, {
              storage,
              overrides: { HIDDEN_SIZE: hiddenSize, FIRST_ROW: first, ROWS: rows, SCALE: 1, LAYOUT: layoutNumber[layout] },
              buffers: { table: await gpu.upload(inLayout(own, hiddenSize, layout, NaN), storage), sampled, step, x },
              grid: [Math.ceil(hiddenSize / 256), tokens.length, 1]
            })
          }
          t.strictSame(await gpu.download(x, tokens.length * hiddenSize, 'f32'), reference(table, tokens, hiddenSize), `hidden size ${hiddenSize}`)
        }
      }
    })
  }
}

gpuTest('a device token is read from its state row, a host token is not', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const hiddenSize = 8
  const table = stored(new SeededRandom(SEED).normals(10 * hiddenSize), 'f32')
  const x = await gpu.poisoned(3 * hiddenSize, 'f32')
  await gpu.run(embedding, {
    overrides: { HIDDEN_SIZE: hiddenSize, FIRST_ROW: 0, ROWS: 10, SCALE: 1, LAYOUT: 0 },
    buffers: {
      table: await gpu.upload(inLayout(table, hiddenSize, 'interleaved'), 'f32'),
      sampled: await gpu.upload([3, 9, 4], 'u32'),
      step: await gpu.step({
        tokens: [
          { token: DEVICE_TOKEN, stateRow: 2, position: 5, slot: 5 },
          { token: 6, stateRow: 1, position: 0, slot: 0 },
          { token: DEVICE_TOKEN, stateRow: 0, position: 1, slot: 1 }
        ]
      }),
      x
    },
    grid: [1, 3, 1]
  })
  t.strictSame(await gpu.download(x, 3 * hiddenSize, 'f32'), reference(table, [4, 6, 3], hiddenSize))
})

gpuTest('an embedding that is normalised at once is the embedding, and its norm to the bit', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED + 1)
  const [EPS, SCALE, ROWS] = [1e-5, 3, 21]
  // One thread has nothing to do, all have one vector, one has two.
  for (const [layout, hiddenSize] of [['interleaved', 124], ['interleaved', 128], ['interleaved', 132], ['tiled', 144]] as const) {
    const table = stored(random.normals(ROWS * hiddenSize), 'f32')
    const tokens = [20, 0, 7, DEVICE_TOKEN, 16]
    const step = await gpu.step({ tokens: tokens.map((token, i) => ({ token, stateRow: 1, position: i, slot: i })) })
    const expected = reference(table, tokens.map(token => token === DEVICE_TOKEN ? 15 : token), hiddenSize).map(value => value * SCALE)
    const weight = await gpu.upload(stored(random.normals(hiddenSize), 'f32'), 'f32')
    const length = tokens.length * hiddenSize
    const [x, y, scales] = [await gpu.poisoned(length, 'f32'), await gpu.poisoned(length, 'f32'), await gpu.poisoned(tokens.length, 'f32')]
    const sizes = { HIDDEN_SIZE: hiddenSize, EPS, THREADS: 32, LEFT_ROWS: 3 }
    await gpu.run(embeddingNorm, {
      overrides: { ...sizes, ROWS, SCALE, LAYOUT: layoutNumber[layout] },
      buffers: { table: await gpu.upload(inLayout(table, hiddenSize, layout, NaN), 'f32'), sampled: await gpu.upload([99, 15], 'u32'), weight, step, x, y, row_scales: scales },
      grid: [tokens.length + 1, 1, 1]
    })
    t.strictSame(await gpu.download(x, length, 'f32'), stored(expected, 'f32'), `${layout}, hidden size ${hiddenSize}`)
    const [normed, left] = [await gpu.poisoned(length, 'f32'), await gpu.poisoned(tokens.length, 'f32')]
    await gpu.run(rmsNorm, {
      overrides: { ...sizes, GATHER: 0, LEFT_AT: 0 },
      buffers: { x, weight, step: await gpu.step({ tokens: countedTokens(tokens.length) }), y: normed, row_scales: left },
      grid: [tokens.length, 1, 1]
    })
    assertSameBits(t, await gpu.bits(y, length, 'f32'), await gpu.bits(normed, length, 'f32'), `the norm, hidden size ${hiddenSize}`)
    assertSameBits(t, await gpu.bits(scales, tokens.length, 'f32'), await gpu.bits(left, tokens.length, 'f32'), 'and what it leaves of the first rows')
  }
})
