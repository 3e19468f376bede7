import { embedding } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { layoutNumber } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { embedding as reference } from '../../reference/embedding.ts'
import { stored } from '../../reference/float16.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { DEVICE_TOKEN } from './step-records.ts'
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
