import t from 'tap'
import { BlockPool, blockId, KVCacheInvariantError } from '@daybreak/kvcache'
import type { BlockId } from '@daybreak/kvcache'
import { SeededRandom } from '../fakes/seeded-random.ts'

const taken = (blocks: readonly BlockId[] | undefined): readonly BlockId[] => blocks ?? []

t.test('a new pool has every block free and hands them out in order', async t => {
  const pool = new BlockPool(4)
  t.equal(pool.numFree, 4)
  t.same(pool.allocate(3), [0, 1, 2])
  t.equal(pool.numFree, 1)
  t.equal(pool.referenceCount(blockId(0)), 1)
  t.equal(pool.referenceCount(blockId(3)), 0)
  pool.checkInvariants()
})

t.test('allocation is all or nothing, on both sides of what is free', async t => {
  const pool = new BlockPool(4)
  t.equal(pool.allocate(5), undefined)
  t.equal(pool.numFree, 4, 'a refused allocation takes nothing')
  t.same(pool.allocate(4), [0, 1, 2, 3])
  t.same(pool.allocate(0), [])
  t.equal(pool.allocate(1), undefined)
  pool.checkInvariants()
})

t.test('a shared block returns to the pool only after its last holder releases it', async t => {
  const pool = new BlockPool(2)
  const blocks = taken(pool.allocate(1))
  pool.share(blocks)
  pool.release(blocks)
  t.equal(pool.numFree, 1)
  pool.release(blocks)
  t.equal(pool.numFree, 2)
  pool.checkInvariants()
})

t.test('blocks are evicted least recently released first, in the order listed', async t => {
  const pool = new BlockPool(4)
  pool.allocate(4)
  pool.release([blockId(2), blockId(0)])
  pool.release([blockId(3), blockId(1)])
  t.same(pool.allocate(4), [2, 0, 3, 1])
})

t.test('blocks released as worthless are evicted before all others', async t => {
  const pool = new BlockPool(4)
  pool.allocate(4)
  pool.release([blockId(2)])
  pool.release([blockId(0), blockId(1)], 'first')
  t.same(pool.allocate(3), [0, 1, 2])
  pool.checkInvariants()
})

t.test('sharing a free block takes it out of the free list', async t => {
  const pool = new BlockPool(3)
  pool.share([blockId(1)])
  t.equal(pool.numFree, 2)
  t.same(pool.allocate(2), [0, 2])
  pool.checkInvariants()
})

t.test('releasing a block without a holder is an invariant error that names it', async t => {
  const pool = new BlockPool(2)
  t.throws(() => pool.release([blockId(1)]), { code: 'kv_cache_invariant', details: { block: 1 } })
  t.throws(() => pool.share([blockId(2)]), KVCacheInvariantError, 'so is a block outside the pool')
})

t.test('random allocation, sharing and release keep the invariants and lose no block', async t => {
  const seed = 20_260_101
  t.comment(`seed ${seed}`)
  const random = new SeededRandom(seed)
  const pool = new BlockPool(17)
  const held: BlockId[][] = []
  for (let i = 0; i < 2_000; i++) {
    const action = random.integer(3)
    if (action === 0) {
      const blocks = pool.allocate(random.integer(7))
      if (blocks !== undefined) held.push(blocks)
    } else if (action === 1 && held.length > 0) {
      const blocks = random.pick(held)
      pool.share(blocks)
      held.push([...blocks])
    } else if (held.length > 0) {
      const [blocks] = held.splice(random.integer(held.length), 1)
      pool.release(blocks ?? [], random.chance(0.5) ? 'first' : 'last')
    }
    pool.checkInvariants()
    if (pool.numFree !== 17 - new Set(held.flat()).size) t.fail(`step ${i} lost a block`)
  }
  for (const blocks of held) pool.release(blocks)
  t.equal(pool.numFree, 17)
})
