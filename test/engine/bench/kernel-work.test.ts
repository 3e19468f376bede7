import t from 'tap'
import { namedShape } from '@daybreak/engine'
import { decodeBatch, promptBatch, rowsBatch, sharingBatch } from '../../../packages/engine/src/bench/bench-batches.ts'
import { attendedKeys, kernelWork, sharedWork } from '../../../packages/engine/src/bench/kernel-work.ts'
import type { StepWork } from '../../../packages/engine/src/bench/kernel-work.ts'

const limits = { blockSize: 16, vocabSize: 1000 }
const llama: StepWork = {
  config: namedShape('llama-3.2-1b'),
  shape: { tokens: 4, singles: 3, splits: 2, splitSubgroups: 1, groups: 0, groupSize: 0, tiles: 1, logitRows: 2, fewKeys: 0 },
  attended: { keys: 100, pairs: 300 },
  storage: 'f16',
  activation: 'f16',
  parts: { output: 1, down: 1 }
}

t.test('a product moves its weight, its rows and its outputs once', t => {
  t.strictSame(kernelWork('qkv', llama), { bytes: 2 * 3072 * 2048 + 4 * 2048 * 2 + 4 * 3072 * 4, flops: 2 * 4 * 3072 * 2048 })
  t.strictSame(kernelWork('gate_up', llama), { bytes: 2 * 16_384 * 2048 + 4 * 2048 * 2 + 4 * 8192 * 2, flops: 2 * 4 * 16_384 * 2048 }, 'two sums make one output')
  t.strictSame(kernelWork('down', llama), { bytes: 2 * 2048 * 8192 + 4 * 8192 * 2 + 4 * 2048 * 8, flops: 2 * 4 * 2048 * 8192 }, 'the residual stream is read and written')
  t.strictSame(kernelWork('head', llama)?.flops, 2 * 2 * 128_256 * 2048, 'of the rows that need logits')
  t.strictSame(kernelWork('qkv normed', llama), { bytes: 2 * 3072 * 2048 + 4 * 2048 * 4 + 4 * 3072 * 4, flops: 2 * 4 * 3072 * 2048 }, 'rows that it normalises itself are the residual stream\'s')
  t.equal(kernelWork('qkv', { ...llama, storage: 'f32', activation: 'f32' })?.bytes, 4 * 3072 * 2048 + 4 * 2048 * 4 + 4 * 3072 * 4)
  t.end()
})

t.test('a projection that rotates writes queries, keys and values where attention reads them', t => {
  const written = 64 * (32 * 2 + 16 * 2)
  t.strictSame(kernelWork('qkv rotary', llama), { bytes: 2 * 3072 * 2048 + 4 * 2048 * 2 + 4 * written, flops: 2 * 4 * 3072 * 2048 })
  const one = { ...llama, shape: { ...llama.shape, tokens: 1 } }
  t.strictSame(kernelWork('qkv rotary', one), { bytes: 2 * 3072 * 2048 + 2048 * 4 + written, flops: 2 * 3072 * 2048 }, 'and normalises a single token')
  t.end()
})

t.test('the product behind a single token\'s attention reads its parts instead of a row', t => {
  const one = { ...llama, shape: { ...llama.shape, tokens: 1, singles: 1, splits: 5 } }
  t.strictSame(kernelWork('output merged', one), { bytes: 2 * 2048 * 2048 + 5 * 32 * (64 * 4 + 8) + 2048 * 8, flops: 2 * 2048 * 2048 })
  t.end()
})

t.test('what a product leaves in parts of K is added up by the norm behind it', t => {
  const parted = { ...llama, parts: { output: 2, down: 4 } }
  t.equal(kernelWork('down', parted)?.bytes, 2 * 2048 * 8192 + 4 * 8192 * 2 + 4 * 2048 * 4 * 4)
  t.equal(kernelWork('output', parted)?.bytes, 2 * 2048 * 2048 + 4 * 2048 * 2 + 4 * 2048 * 4 * 2)
  t.equal(kernelWork('mlp_norm summed', parted)?.bytes, 4 * 2048 * (4 + 2 * 4 + 4 + 2))
  t.equal(kernelWork('attention_norm summed', parted)?.bytes, 4 * 2048 * (4 + 4 * 4 + 4 + 2))
  t.equal(kernelWork('final_norm summed', parted)?.bytes, 2 * 2048 * (4 + 4 * 4 + 2), 'nobody reads the residual stream behind the last')
  t.end()
})

t.test('a whole layer moves its weights once, and multiplies them by every row', t => {
  const work = kernelWork('whole layer', { ...llama, shape: { ...llama.shape, tokens: 4, singles: 4, tiles: 0, fewKeys: 100 } })
  const weights = 2048 * (3072 + 2048 + 3 * 8192)
  const attention = kernelWork('attention_split', llama)
  t.strictSame(work, { bytes: 2 * weights + 4 * 8 * 2048 + (attention?.bytes ?? NaN), flops: 2 * 4 * weights + (attention?.flops ?? NaN) })
  t.end()
})

t.test('attention moves keys and values once, and computes for every pair', t => {
  const expected = { bytes: 100 * 2 * 8 * 64 * 2 + 4 * 2 * 32 * 64 * 2, flops: 300 * 4 * 32 * 64 }
  t.strictSame(kernelWork('attention_tile', llama), expected)
  t.strictSame(kernelWork('attention_split', llama), expected)
  t.strictSame(kernelWork('attention_reduce', llama), { bytes: 3 * 32 * (2 * (64 * 4 + 8) + 64 * 2), flops: 0 })
  t.strictSame(kernelWork('attention_merge', llama), kernelWork('attention_reduce', llama))
  const grouped = { ...llama, shape: { ...llama.shape, singles: 8, splits: 1, groups: 6, groupSize: 4 } }
  t.strictSame(kernelWork('attention_merge', grouped), { bytes: 32 * ((8 + 6 * 4) * (64 * 4 + 8) + 8 * 64 * 2), flops: 0 }, 'each group leaves a part for each of its rows')
  t.end()
})

t.test('rows are moved in the types they are kept in', t => {
  t.equal(kernelWork('attention_norm', llama)?.bytes, 4 * 2048 * 6)
  t.equal(kernelWork('final_norm', llama)?.bytes, 2 * 2048 * 6)
  t.equal(kernelWork('rope_kv_write', llama)?.bytes, 4 * 64 * (48 * 4 + 32 * 2 + 16 * 2))
  t.equal(kernelWork('sample_choose', llama), undefined, 'how much it reads depends on the values')
  t.end()
})

t.test('a query sees itself and what is before it, as far as its window', t => {
  t.strictSame(attendedKeys(promptBatch(4, 4, limits)), { keys: 4, pairs: 1 + 2 + 3 + 4 })
  t.strictSame(attendedKeys(promptBatch(2, 10, limits)), { keys: 10, pairs: 9 + 10 })
  t.strictSame(attendedKeys(promptBatch(2, 10, limits), 3), { keys: 4, pairs: 6 })
  t.strictSame(attendedKeys(decodeBatch(5, 10, limits)), { keys: 50, pairs: 50 })
  t.strictSame(attendedKeys(decodeBatch(5, 10, limits), 10), { keys: 50, pairs: 50 })
  t.strictSame(attendedKeys(decodeBatch(5, 10, limits), 9), { keys: 45, pairs: 45 })
  t.end()
})

t.test('shared keys are read once for each group, and seen by each of its sequences as far as their window', t => {
  const shared = { keys: 64, degree: 4 }
  t.strictSame(sharedWork(10, 100, shared), { together: { keys: 3 * 64, pairs: 640 }, own: { keys: 360, pairs: 360 }, all: { keys: 552, pairs: 1000 } })
  t.strictSame(sharedWork(10, 100, shared, 50), { together: { keys: 3 * 14, pairs: 140 }, own: { keys: 360, pairs: 360 }, all: { keys: 402, pairs: 500 } })
  t.strictSame(sharedWork(10, 100, shared, 30), { together: { keys: 0, pairs: 0 }, own: { keys: 300, pairs: 300 }, all: { keys: 300, pairs: 300 } })
  t.end()
})

t.test('neighbours share their first whole blocks, and every block is somebody\'s', t => {
  const tables = sharingBatch(10, 100, { keys: 70, degree: 4 }, limits).sequences.map(({ blockTable }) => blockTable)
  for (const [row, table] of tables.entries()) {
    t.equal(table.length, 7)
    for (const [other, { 3: fourth, 4: fifth }] of tables.entries()) {
      t.equal(table[3] === fourth, Math.floor(row / 4) === Math.floor(other / 4))
      t.equal(table[4] === fifth, row === other)
    }
  }
  const blocks = new Set(tables.flat())
  t.equal(blocks.size, 3 * 4 + 10 * 3)
  t.equal(Math.max(...blocks), blocks.size - 1)
  t.end()
})

t.test('rows are cut into prompts that share no block, and scored from the first on', t => {
  for (const rows of [1, 255, 256, 257, 600]) {
    const { sequences } = rowsBatch(rows, Math.min(rows, 300), limits)
    t.equal(sequences.reduce((sum, { tokens }) => sum + (tokens?.length ?? 0), 0), rows)
    t.equal(sequences.reduce((sum, { scoreTargets }) => sum + (scoreTargets?.length ?? 0), 0), Math.min(rows, 300))
    const blocks = sequences.flatMap(({ blockTable }) => blockTable)
    t.equal(new Set(blocks).size, blocks.length)
  }
  t.end()
})
