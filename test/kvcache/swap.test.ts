import t from 'tap'
import { HostPool, KVCache, kvCacheConfig } from '@daybreak/kvcache'
import type { KVCacheConfig } from '@daybreak/kvcache'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { seq, someTokens } from './tokens.ts'

const BLOCK_SIZE = 4

function aCache (options: Partial<KVCacheConfig> = {}): KVCache {
  return new KVCache(kvCacheConfig({ numBlocks: 8, blockSize: BLOCK_SIZE, numHostSlots: 8, ...options }))
}

/** Takes blocks for tokens and says they are computed. */
function running (cache: KVCache, name: string, numTokens: number, stream = 0): void {
  const tokens = someTokens(numTokens, stream)
  cache.admit(seq(name), tokens)
  cache.commit(seq(name), tokens, numTokens)
}

/** Does the planned copies, as a step whose result has come. */
function stepDone (cache: KVCache): void {
  const outs = cache.takeSwapOuts()
  cache.takeSwapIns()
  cache.takeMoves()
  cache.swapsArrived(outs)
  cache.checkInvariants()
}

t.test('a swapped sequence gives all device blocks back and takes a host slot for each computed one', async t => {
  const cache = aCache()
  running(cache, 'a', 10)
  cache.grow(seq('a'), 13)
  const table = cache.blockTable(seq('a'))
  t.equal(cache.swapSize(seq('a'), 10), 3)
  t.ok(cache.swapOut(seq('a'), 10))
  cache.checkInvariants()
  t.equal(cache.numFree, 8)
  t.match(cache, { numSequences: 0, numSwapped: 1 })
  t.match(cache.stats, { numHostSlots: 8, numHostSlotsUsed: 3 })
  const outs = cache.takeSwapOuts()
  t.same(outs.map(({ block }) => block), table.slice(0, 3), 'the fourth block has nothing in it')
  t.equal(new Set(outs.map(({ slot }) => slot)).size, 3)
  t.same(cache.takeSwapOuts(), [], 'handed out once')
  t.notOk(cache.isSwappedOut(seq('a')), 'until the bytes have arrived')
  cache.swapsArrived(outs)
  t.ok(cache.isSwappedOut(seq('a')))
})

t.test('it comes back from the same slots into blocks that nobody else has', async t => {
  const cache = aCache({ prefixCaching: false })
  running(cache, 'a', 10)
  cache.swapOut(seq('a'), 10)
  const slots = cache.takeSwapOuts()
  cache.swapsArrived(slots)
  running(cache, 'b', 8, 1)
  t.same(cache.swapIn(seq('a'), someTokens(14)), { blocks: [], numTokens: 10 })
  const table = cache.blockTable(seq('a'))
  t.equal(table.length, 4, 'with room for all its tokens')
  t.same(cache.takeSwapIns(), slots.map(({ slot }, i) => ({ block: table[i], slot })))
  t.notOk(table.some(block => cache.blockTable(seq('b')).includes(block)))
  t.match(cache.stats, { numHostSlotsUsed: 0, numSwappedOut: 3, numSwappedIn: 3 })
  cache.checkInvariants()
})

t.test('without room on the device nothing changes, and it can be tried again', async t => {
  const cache = aCache({ prefixCaching: false })
  running(cache, 'a', 10)
  cache.swapOut(seq('a'), 10)
  stepDone(cache)
  running(cache, 'b', 24, 1)
  t.equal(cache.swapIn(seq('a'), someTokens(10)), undefined)
  t.match(cache, { numSwapped: 1, numFree: 2 })
  cache.release(seq('b'))
  t.equal(cache.swapIn(seq('a'), someTokens(10), 6), undefined, 'nor with too little left for others')
  t.equal(cache.swapIn(seq('a'), someTokens(10), 5)?.numTokens, 10)
  cache.checkInvariants()
})

t.test('without room on the host, or without a host, nothing is swapped', async t => {
  const cache = aCache({ numHostSlots: 2 })
  running(cache, 'a', 10)
  t.equal(cache.swapSize(seq('a'), 10), 0)
  t.notOk(cache.swapOut(seq('a'), 10))
  t.match(cache, { numSequences: 1, numSwapped: 0 })
  t.ok(cache.swapOut(seq('a'), 8))
  const none = aCache({ numHostSlots: 0 })
  running(none, 'a', 10)
  t.notOk(none.swapOut(seq('a'), 10))
})

t.test('what is still cached on return is not copied back', async t => {
  const cache = aCache()
  running(cache, 'a', 10)
  const table = cache.blockTable(seq('a'))
  cache.swapOut(seq('a'), 10)
  stepDone(cache)
  t.strictSame([cache.maxSwapInSize(seq('a')), cache.numSwapInsPlanned], [3, 0])
  t.same(cache.swapIn(seq('a'), someTokens(11)), { blocks: table.slice(0, 2), numTokens: 10 })
  t.strictSame([cache.maxSwapInSize(seq('a')), cache.numSwapInsPlanned], [0, 1])
  t.equal(cache.takeSwapIns().length, 1, 'the last block had too few tokens to be cached')
  t.equal(cache.numSwapInsPlanned, 0)
  cache.checkInvariants()
})

t.test('full blocks that others hold stay where they are; the rest is copied', async t => {
  const cache = aCache()
  running(cache, 'a', 9)
  cache.fork(seq('a'), seq('b'), 9)
  cache.grow(seq('b'), 10)
  cache.takeMoves()
  t.equal(cache.swapSize(seq('b'), 10), 1)
  t.ok(cache.swapOut(seq('b'), 10))
  t.equal(cache.takeSwapOuts().length, 1)
})

t.test('when what was left to the cache is gone, the sequence is admitted as if it had never been swapped', async t => {
  const cache = aCache()
  running(cache, 'a', 9)
  cache.fork(seq('a'), seq('b'), 8)
  cache.grow(seq('b'), 12)
  cache.swapOut(seq('b'), 12)
  stepDone(cache)
  cache.release(seq('a'))
  running(cache, 'c', 32, 1)
  cache.release(seq('c'))
  t.same(cache.swapIn(seq('b'), someTokens(12)), { blocks: [], numTokens: 0 })
  t.same(cache.takeSwapIns(), [])
  t.match(cache, { numSwapped: 0, numSequences: 1 })
  t.equal(cache.stats.numHostSlotsUsed, 0)
  cache.checkInvariants()
})

t.test('slots of a sequence that is given up are free at once, or when what is under way has arrived', async t => {
  const cache = aCache()
  running(cache, 'a', 8)
  cache.swapOut(seq('a'), 8)
  cache.forgetSwapped(seq('a'))
  cache.checkInvariants()
  t.equal(cache.stats.numHostSlotsUsed, 0)
  t.same(cache.takeSwapOuts(), [], 'nothing needs to be copied any more')
  running(cache, 'b', 8, 1)
  cache.swapOut(seq('b'), 8)
  const outs = cache.takeSwapOuts()
  cache.forgetSwapped(seq('b'))
  cache.checkInvariants()
  t.equal(cache.stats.numHostSlotsUsed, 2, 'nobody may write them a second time yet')
  cache.swapsArrived(outs)
  t.equal(cache.stats.numHostSlotsUsed, 0)
  t.throws(() => cache.swapsArrived(outs), { code: 'kv_cache_invariant' })
  cache.forgetSwapped(seq('unknown'))
  cache.checkInvariants()
})

t.test('a sequence whose blocks this very step is yet to fill cannot be swapped out before it', async t => {
  const cache = aCache({ prefixCaching: false })
  running(cache, 'a', 8)
  cache.swapOut(seq('a'), 8)
  stepDone(cache)
  cache.swapIn(seq('a'), someTokens(9))
  t.notOk(cache.swapOut(seq('a'), 8))
  cache.release(seq('a'))
  cache.checkInvariants()
  t.same(cache.takeSwapIns(), [], 'what was to come into its blocks is dropped with them')
  t.equal(cache.stats.numHostSlotsUsed, 0)
  running(cache, 'b', 6, 1)
  cache.fork(seq('b'), seq('c'), 6)
  cache.grow(seq('c'), 7)
  t.notOk(cache.swapOut(seq('c'), 6), 'its copy on write has not been made')
  t.equal(cache.takeMoves().length, 1)
  t.ok(cache.swapOut(seq('c'), 6))
})

t.test('using a swapped sequence wrongly is an invariant', async t => {
  const cache = aCache({ prefixCaching: false })
  const broken = { code: 'kv_cache_invariant' }
  t.throws(() => cache.swapIn(seq('a'), someTokens(4)), broken)
  t.throws(() => cache.swapOut(seq('a'), 4), broken)
  running(cache, 'a', 8)
  cache.swapOut(seq('a'), 8)
  t.throws(() => cache.swapIn(seq('a'), someTokens(9)), broken, 'its bytes have not arrived')
})

t.test('a pool of host slots gives out whole groups, each to one holder', async t => {
  const pool = new HostPool(12, 4)
  const a = pool.allocate(5) ?? []
  t.same(a, [0, 1, 2, 3, 4])
  t.match(pool, { numFree: 4, numSlots: 12, numGroups: 3 })
  t.notOk(pool.fits(5))
  t.equal(pool.allocate(5), undefined)
  t.same(pool.allocate(1), [8])
  pool.share(a)
  pool.release(a)
  t.equal(pool.numFree, 0)
  pool.release(a)
  t.equal(pool.numFree, 8)
  t.same(pool.allocate(2), [0, 1], 'memory used last is used first')
  pool.checkInvariants()
})

for (const hostGroupSize of [1, 3]) {
  t.test(`random swaps lose no block and no slot, in groups of ${hostGroupSize} (seed 5)`, async t => {
    const random = new SeededRandom(5)
    const cache = aCache({ numBlocks: 24, numHostSlots: 18, hostGroupSize })
    const lengths = new Map<string, number>()
    const swapped = new Map<string, number>()
    const underWay: Array<ReturnType<KVCache['takeSwapOuts']>> = []
    let numBack = 0
    for (let step = 0; step < 3_000; step++) {
      const name = `s${random.integer(6)}`
      const id = seq(name)
      const length = lengths.get(name)
      const kept = swapped.get(name)
      if (length === undefined && kept === undefined) {
        const tokens = someTokens(random.between(1, 20), random.integer(3))
        if (cache.admit(id, tokens) !== undefined) {
          cache.commit(id, tokens, tokens.length)
          lengths.set(name, tokens.length)
        }
      } else if (length !== undefined && random.chance(0.4)) {
        if (cache.swapOut(id, length)) swapped.set(name, length)
        else cache.release(id)
        lengths.delete(name)
      } else if (kept !== undefined && cache.isSwappedOut(id) && random.chance(0.6)) {
        const match = cache.swapIn(id, someTokens(kept + 1, 7))
        if (match !== undefined) {
          swapped.delete(name)
          lengths.set(name, kept + 1)
          numBack++
        }
      } else if (kept !== undefined && random.chance(0.1)) {
        cache.forgetSwapped(id)
        swapped.delete(name)
      }
      if (random.chance(0.5)) {
        underWay.push(cache.takeSwapOuts())
        cache.takeSwapIns()
        cache.takeMoves()
      }
      if (underWay.length > 2) cache.swapsArrived(underWay.shift() ?? [])
      cache.checkInvariants()
    }
    t.ok(numBack > 100, `${numBack} came back`)
    for (const name of lengths.keys()) cache.release(seq(name))
    for (const name of swapped.keys()) cache.forgetSwapped(seq(name))
    for (const outs of [...underWay, cache.takeSwapOuts()]) cache.swapsArrived(outs)
    cache.takeSwapIns()
    cache.takeMoves()
    cache.checkInvariants()
    t.match(cache.stats, { numFree: 24, numHostSlotsUsed: 0 })
  })
}
