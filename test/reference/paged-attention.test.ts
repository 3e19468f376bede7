import t from 'tap'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { pagedAttention } from './paged-attention.ts'
import { pagedKVLength, pagedKVStart, slotOf, writePagedKV } from './paged-kv.ts'
import type { PagedKVShape } from './paged-kv.ts'

const SHAPE: PagedKVShape = { numBlocks: 12, blockSize: 4, numKVHeads: 2, headDim: 6 }
const NUM_HEADS = 4

t.test('a slot\'s key and value lie where the layout says, and a write touches nothing else', async t => {
  const shape: PagedKVShape = { numBlocks: 3, blockSize: 4, numKVHeads: 2, headDim: 2 }
  const slot = slotOf([2, 1], 5, 4)
  t.equal(slot, 5, 'position 5 is offset 1 of the second block, which is physical block 1')
  t.equal(pagedKVStart(shape, slot, 'key', 1), ((((1 * 2) + 0) * 2 + 1) * 4 + 1) * 2)
  t.equal(pagedKVStart(shape, slot, 'value', 1), ((((1 * 2) + 1) * 2 + 1) * 4 + 1) * 2)
  const cache = new Float64Array(pagedKVLength(shape))
  writePagedKV(cache, shape, Float64Array.of(1, 2, 3, 4), Float64Array.of(5, 6, 7, 8), [slot])
  t.same([...cache.subarray(pagedKVStart(shape, slot, 'value', 1)).subarray(0, 2)], [7, 8])
  t.equal(cache.filter(value => value !== 0).length, 8)
  t.throws(() => slotOf([2, 1], 8, 4), RangeError)
})

for (const length of [1, 3, 4, 5, 9]) {
  t.test(`attention over ${length} scattered positions equals attention over contiguous ones`, async t => {
    const random = new SeededRandom(length)
    const blockTable = [7, 2, 10]
    const { cache, keys, values } = filledCache(random, blockTable, length)
    const query = random.normals(NUM_HEADS * SHAPE.headDim)
    const found = pagedAttention(query, cache, SHAPE, NUM_HEADS, [{ startPosition: length - 1, numTokens: 1, blockTable }])
    const wanted = contiguousAttention(query, keys, values, length)
    t.ok(found.every((value, i) => Math.abs(value - (wanted[i] ?? NaN)) < 1e-12))
  })
}

t.test('a chunk sees what its tokens one by one see, and sequences do not see each other', async t => {
  const random = new SeededRandom(9)
  const cache = random.normals(pagedKVLength(SHAPE))
  const chunk = { startPosition: 3, numTokens: 5, blockTable: [4, 0] }
  const decode = { startPosition: 8, numTokens: 1, blockTable: [1, 11, 5] }
  const query = random.normals(6 * NUM_HEADS * SHAPE.headDim)
  const together = pagedAttention(query, cache, SHAPE, NUM_HEADS, [chunk, decode])
  const alone = (row: number, startPosition: number, blockTable: readonly number[]) => {
    const size = NUM_HEADS * SHAPE.headDim
    return pagedAttention(query.slice(row * size, (row + 1) * size), cache, SHAPE, NUM_HEADS, [{ startPosition, numTokens: 1, blockTable }])
  }
  t.same(together, Float64Array.of(
    ...[3, 4, 5, 6, 7].flatMap((position, row) => [...alone(row, position, chunk.blockTable)]),
    ...alone(5, 8, decode.blockTable)
  ))
})

t.test('positions behind the query change nothing', async t => {
  const random = new SeededRandom(10)
  const blockTable = [3, 6]
  const cache = random.normals(pagedKVLength(SHAPE))
  const query = random.normals(NUM_HEADS * SHAPE.headDim)
  const attend = () => pagedAttention(query, cache, SHAPE, NUM_HEADS, [{ startPosition: 5, numTokens: 1, blockTable }])
  const before = attend()
  for (const position of [6, 7]) {
    for (const which of ['key', 'value'] as const) cache.fill(NaN, ...spanOf(slotOf(blockTable, position, 4), which))
  }
  t.same(attend(), before)
})

function spanOf (slot: number, which: 'key' | 'value'): [number, number] {
  const start = pagedKVStart(SHAPE, slot, which, 1)
  return [start, start + SHAPE.headDim]
}

/** A cache of NaN but for `length` positions: reading anything else shows. */
function filledCache (random: SeededRandom, blockTable: readonly number[], length: number) {
  const size = SHAPE.numKVHeads * SHAPE.headDim
  const keys = random.normals(length * size)
  const values = random.normals(length * size)
  const cache = new Float64Array(pagedKVLength(SHAPE)).fill(NaN)
  writePagedKV(cache, SHAPE, keys, values, Array.from({ length }, (_, position) => slotOf(blockTable, position, SHAPE.blockSize)))
  return { cache, keys, values }
}

/** softmax(q · Kᵀ / sqrt(d)) · V by its definition, one query token, two query heads to a KV head. */
function contiguousAttention (query: Float64Array, keys: Float64Array, values: Float64Array, length: number): number[] {
  const { headDim, numKVHeads } = SHAPE
  return Array.from({ length: NUM_HEADS }, (_, head) => {
    const at = (array: Float64Array, position: number, i: number) =>
      array[(position * numKVHeads + Math.floor(head / 2)) * headDim + i] ?? NaN
    const dims = Array.from({ length: headDim }, (_, i) => i)
    const weights = Array.from({ length }, (_, position) => Math.exp(
      dims.reduce((sum, i) => sum + (query[head * headDim + i] ?? NaN) * at(keys, position, i), 0) / Math.sqrt(headDim)))
    const total = weights.reduce((a, b) => a + b)
    return dims.map(i => weights.reduce((sum, weight, position) => sum + weight * at(values, position, i), 0) / total)
  }).flat()
}
