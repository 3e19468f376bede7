import { attentionSplit } from '../../../packages/engine/src/kernels/attention/attention-order.ts'
import { attentionMerge, attentionReduce } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'

const SEED = 20260819
const gpu = await GpuHarness.open()
const NUM_HEADS = 3

// In order, a workgroup has 32 threads of four values: one pass, exactly one, two, and two with a ragged end. At once, 128 threads make eight
// teams of 16, four, three and 8 idle threads, or two; they have fewer splits than teams, as many and one more, what all take in a turn of four each
// and one more, and more than threads.
for (const [kernel, cases] of [
  [attentionReduce, [[64, 3], [128, 3], [160, 3], [256, 3]]],
  [attentionMerge, [[64, 2], [64, 8], [64, 9], [64, 32], [64, 33], [128, 4], [128, 17], [160, 3], [160, 13], [256, 5], [64, 130]]]
] as const) {
  gpuTest(`${kernel.name}: splits are merged for every value of a head, however wide it is`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const [headDim, splits] of cases) {
      const rows = splits * NUM_HEADS
      const out = stored(random.normals(rows * headDim), 'f32')
      const maxSum = stored(Float64Array.from({ length: 2 * rows }, (_, i) => i % 2 === 0 ? random.normals(1)[0] ?? 0 : 1 + i), 'f32')
      const y = await gpu.poisoned(NUM_HEADS * headDim, 'f32')
      await gpu.run(kernel, {
        overrides: { NUM_HEADS, HEAD_DIM: headDim, WINDOW: 0 },
        buffers: {
          partial_out: await gpu.upload(out, 'f32'),
          partial_max_sum: await gpu.upload(maxSum, 'f32'),
          step: await gpu.step({ splitKeys: attentionSplit, singles: [{ tokenRow: 0, table: 0, context: splits * attentionSplit - 1, partial: 0 }] }),
          y
        },
        grid: [NUM_HEADS, 1, 1]
      })
      const expected = Float64Array.from({ length: NUM_HEADS * headDim }, (_, i) => {
        const head = Math.floor(i / headDim)
        const parts = Array.from({ length: splits }, (_, split) => split * NUM_HEADS + head)
        const top = Math.max(...parts.map(row => maxSum[2 * row] ?? NaN))
        const weigh = (row: number): number => Math.exp((maxSum[2 * row] ?? NaN) - top)
        const sum = parts.reduce((total, row) => total + weigh(row) * (maxSum[2 * row + 1] ?? NaN), 0)
        return parts.reduce((total, row) => total + weigh(row) * (out[row * headDim + i % headDim] ?? NaN), 0) / sum
      })
      // A few roundings and three exponentials of values around one.
      assertClose(t, await gpu.download(y, NUM_HEADS * headDim, 'f32'), expected, () => 1e-5, `head of ${headDim}, ${splits} splits`)
    }
  })
}

// A team's first turn, or all of it, may be such parts: its maximum is then far below that of any score.
gpuTest('attention_merge: parts in which a row saw no key, and parts far below others, have no share', gpu, async (t, gpu) => {
  const [headDim, splits] = [64, 70]
  const rows = splits * NUM_HEADS
  const seen = [[61], [3, 35, 67], [8, 40]]
  const maxima = [5, 300, 90]
  const partOf = (row: number): readonly [head: number, split: number] => [row % NUM_HEADS, Math.floor(row / NUM_HEADS)]
  const maxSum = Array.from({ length: rows }, (_, row) => {
    const [head, split] = partOf(row)
    if (seen[head]?.includes(split) === true) return [maxima[head] ?? NaN, 2]
    return split % 3 === 0 ? [(maxima[head] ?? NaN) - 200, 1] : [-1e30, 0]
  })
  const out = Float64Array.from({ length: rows * headDim }, (_, i) => (maxSum[Math.floor(i / headDim)]?.[1] ?? NaN) * (1 + partOf(Math.floor(i / headDim))[1]))
  const y = await gpu.poisoned(NUM_HEADS * headDim, 'f32')
  await gpu.run(attentionMerge, {
    overrides: { NUM_HEADS, HEAD_DIM: headDim, WINDOW: 0 },
    buffers: {
      partial_out: await gpu.upload(out, 'f32'),
      partial_max_sum: await gpu.upload(Float64Array.from(maxSum.flat()), 'f32'),
      step: await gpu.step({ splitKeys: 32, singles: [{ tokenRow: 0, table: 0, context: 32 * splits, partial: 0 }] }),
      y
    },
    grid: [NUM_HEADS, 1, 1]
  })
  const expected = Float64Array.from({ length: NUM_HEADS * headDim }, (_, i) => {
    const own = seen[Math.floor(i / headDim)] ?? []
    return own.reduce((sum, split) => sum + 1 + split, 0) / own.length
  })
  assertClose(t, await gpu.download(y, NUM_HEADS * headDim, 'f32'), expected, () => 1e-5, 'the mean of the others')
})

// Parts of 40 keys of a prefix of 100, then two splits of 32 and 8 own keys. A window that begins in the first part, the second, at the prefix' end,
// in the first split and in the last key.
for (const [window, first] of [[0, 0], [140, 0], [101, 0], [100, 1], [60, 2], [41, 2], [40, 3], [9, 3], [8, 4], [1, 4]] as const) {
  gpuTest(`attention_merge: parts of a prefix come before a row's own, and those before a window of ${window} are left out`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const headDim = 32
    const parts = 5
    const values = (part: number): Float64Array => part < first ? new Float64Array(NUM_HEADS * headDim).fill(NaN) : random.normals(NUM_HEADS * headDim)
    const out = stored(Float64Array.from(Array.from({ length: parts }, (_, part) => [...values(part)]).flat()), 'f32')
    const maxSum = stored(Float64Array.from({ length: 2 * parts * NUM_HEADS }, (_, i) => i < 2 * first * NUM_HEADS ? NaN : i % 2 === 0 ? random.normals(1)[0] ?? 0 : 1 + i), 'f32')
    const y = await gpu.poisoned(NUM_HEADS * headDim, 'f32')
    await gpu.run(attentionMerge, {
      overrides: { NUM_HEADS, HEAD_DIM: headDim, WINDOW: window },
      buffers: {
        partial_out: await gpu.upload(out, 'f32'),
        partial_max_sum: await gpu.upload(maxSum, 'f32'),
        step: await gpu.step({ splitKeys: 32, groupKeys: 40, singles: [{ tokenRow: 0, table: 0, context: 140, partial: 0, prefix: 100 }] }),
        y
      },
      grid: [NUM_HEADS, 1, 1]
    })
    const seen = Array.from({ length: parts - first }, (_, i) => first + i)
    const expected = Float64Array.from({ length: NUM_HEADS * headDim }, (_, i) => {
      const rows = seen.map(part => part * NUM_HEADS + Math.floor(i / headDim))
      const weights = rows.map(row => Math.exp(maxSum[2 * row] ?? NaN))
      return rows.reduce((sum, row, n) => sum + (weights[n] ?? NaN) * (out[row * headDim + i % headDim] ?? NaN), 0) / rows.reduce((sum, row, n) => sum + (weights[n] ?? NaN) * (maxSum[2 * row + 1] ?? NaN), 0)
    })
    assertClose(t, await gpu.download(y, NUM_HEADS * headDim, 'f32'), expected, () => 1e-5, `from part ${first} on`)
  })
}
