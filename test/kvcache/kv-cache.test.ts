import t from 'tap'
import { KVCache, kvCacheConfig } from '@daybreak/kvcache'
import type { KVCacheConfig, TokenId } from '@daybreak/kvcache'
import { seq, someTokens } from './tokens.ts'

const BLOCK_SIZE = 4

function aCache (options: Partial<KVCacheConfig> = {}): KVCache {
  return new KVCache(kvCacheConfig({ numBlocks: 8, blockSize: BLOCK_SIZE, ...options }))
}

/** Admits, computes, commits and releases a sequence, leaving its full blocks cached. */
function computed (cache: KVCache, name: string, tokens: readonly TokenId[]): void {
  cache.admit(seq(name), tokens)
  cache.commit(seq(name), tokens, tokens.length)
  cache.release(seq(name))
}

t.test('configuration applies its defaults and refuses sizes that are no power of two from 1 to 256', async t => {
  t.same(kvCacheConfig({ numBlocks: 3 }), { numBlocks: 3, blockSize: 16, prefixCaching: true, numHostSlots: 0, hostGroupSize: 1 })
  for (const blockSize of [1, 2, 128, 256]) t.equal(kvCacheConfig({ numBlocks: 1, blockSize }).blockSize, blockSize)
  for (const blockSize of [0, 3, 24, 512, 1.5]) t.throws(() => kvCacheConfig({ numBlocks: 1, blockSize }), { code: 'kv_cache_config' })
  for (const numBlocks of [0, 2.5]) t.throws(() => kvCacheConfig({ numBlocks }), { code: 'kv_cache_config', details: { numBlocks } })
  for (const numHostSlots of [-1, 2.5]) t.throws(() => kvCacheConfig({ numBlocks: 3, numHostSlots }), { code: 'kv_cache_config', details: { numHostSlots } })
  t.equal(kvCacheConfig({ numBlocks: 3, numHostSlots: 6, hostGroupSize: 3 }).numHostSlots, 6)
  for (const hostGroupSize of [0, 1.5, 4]) t.throws(() => kvCacheConfig({ numBlocks: 3, numHostSlots: 6, hostGroupSize }), { code: 'kv_cache_config', details: { hostGroupSize } })
})

for (const [numTokens, numBlocks] of [[3, 1], [4, 1], [5, 2], [7, 2], [8, 2], [9, 3]] as const) {
  t.test(`a prompt of ${numTokens} tokens takes ${numBlocks} blocks of ${BLOCK_SIZE}`, async t => {
    const cache = aCache()
    t.same(cache.admit(seq('a'), someTokens(numTokens)), { blocks: [], numTokens: 0 })
    t.equal(cache.blockTable(seq('a')).length, numBlocks)
    t.equal(cache.stats.numUsed, numBlocks)
    cache.checkInvariants()
  })
}

for (const [numTokens, numMatched] of [[4, 0], [5, 4], [8, 4], [9, 8], [12, 8]] as const) {
  t.test(`of ${numTokens} tokens computed before, ${numMatched} are reused: at least one is computed anew`, async t => {
    const cache = aCache()
    const tokens = someTokens(12)
    computed(cache, 'a', tokens)
    const match = cache.matchPrefix(tokens.slice(0, numTokens))
    t.equal(match.numTokens, numMatched)
    t.equal(match.blocks.length, numMatched / BLOCK_SIZE)
    t.equal(cache.stats.queries, 12, 'matching changes nothing')
    t.same(cache.admit(seq('b'), tokens.slice(0, numTokens)), match)
    t.same(cache.stats.hits, numMatched)
    t.equal(cache.stats.queries, 12 + numTokens)
    cache.checkInvariants()
  })
}

t.test('what has been matched can be handed to admit, for one sequence or several: each goes on with blocks of its own', async t => {
  const cache = aCache({ numBlocks: 16 })
  const tokens = someTokens(9)
  computed(cache, 'a', tokens)
  const match = cache.matchPrefix(tokens)
  for (const [name, own] of [['b', 500], ['c', 600]] as const) {
    const longer = [...tokens, own, own, own]
    t.strictSame(cache.admit(seq(name), longer, { match }), { blocks: match.blocks, numTokens: 8 })
    t.strictSame(cache.blockTable(seq(name)).slice(0, 2), match.blocks)
    cache.commit(seq(name), longer, 12)
  }
  t.equal(cache.stats.hits, 16)
  for (const own of [500, 600]) t.equal(cache.matchPrefix([...tokens, own, own, own, 0]).numTokens, 12, `the third block of ${own} is found behind the two that are shared`)
  cache.checkInvariants()
})

t.test('running sequences share the full blocks that are computed, and nothing beyond them', async t => {
  const cache = aCache()
  const tokens = someTokens(12)
  cache.admit(seq('a'), tokens)
  cache.commit(seq('a'), tokens, 7)
  t.equal(cache.matchPrefix(tokens).numTokens, 4, 'the second block is one token short')
  cache.commit(seq('a'), tokens, 8)
  const match = cache.admit(seq('b'), tokens)
  t.equal(match?.numTokens, 8)
  t.same(cache.blockTable(seq('b')).slice(0, 2), cache.blockTable(seq('a')).slice(0, 2))
  t.not(cache.blockTable(seq('b'))[2], cache.blockTable(seq('a'))[2])
  cache.release(seq('a'))
  cache.checkInvariants()
  t.equal(cache.stats.numUsed, 3, 'the other holder keeps the shared blocks')
})

t.test('tokens not known on the host are never hashed', async t => {
  const cache = aCache()
  const known = someTokens(3)
  cache.admit(seq('a'), known)
  cache.grow(seq('a'), 5)
  cache.commit(seq('a'), known, 5)
  t.equal(cache.stats.numCached, 0)
  cache.commit(seq('a'), someTokens(4), 5)
  t.equal(cache.stats.numCached, 1)
})

t.test('sequences with different salts share nothing', async t => {
  const cache = aCache()
  const tokens = someTokens(9)
  cache.admit(seq('a'), tokens, { salt: 'x' })
  cache.commit(seq('a'), tokens, 9)
  cache.fork(seq('a'), seq('child'), 8)
  cache.grow(seq('child'), 12)
  cache.commit(seq('child'), [...tokens.slice(0, 8), 1, 2, 3, 4], 12)
  t.equal(cache.matchPrefix(tokens).numTokens, 0)
  t.equal(cache.matchPrefix(tokens, 'y').numTokens, 0)
  t.equal(cache.matchPrefix(tokens, 'x').numTokens, 8)
  t.equal(cache.matchPrefix([...tokens.slice(0, 8), 1, 2, 3, 4, 5], 'x').numTokens, 12, 'a fork keeps its salt')
})

t.test('with prefix caching off nothing is matched', async t => {
  const cache = aCache({ prefixCaching: false })
  computed(cache, 'a', someTokens(8))
  t.equal(cache.matchPrefix(someTokens(8)).numTokens, 0)
  t.equal(cache.stats.numCached, 0)
})

t.test('a sequence that must compute everything reuses nothing, but its blocks serve others', async t => {
  const cache = aCache()
  const tokens = someTokens(9)
  computed(cache, 'a', tokens)
  t.equal(cache.admit(seq('scored'), tokens, { reusePrefix: false })?.numTokens, 0)
  cache.commit(seq('scored'), tokens, 9)
  t.equal(cache.stats.queries, 9, 'it asked for nothing')
  t.equal(cache.matchPrefix(tokens).numTokens, 8)
  cache.checkInvariants()
})

t.test('free cached blocks are evicted least recently used first, each chain from its end', async t => {
  const cache = aCache({ numBlocks: 4 })
  const old = someTokens(8, 1)
  const recent = someTokens(8, 2)
  computed(cache, 'old', old)
  computed(cache, 'recent', recent)
  const longer = (tokens: readonly TokenId[]): TokenId[] => [...tokens, 0]
  t.equal(cache.stats.numCached, 4)
  t.equal(cache.stats.numUsed, 0)
  cache.admit(seq('x'), someTokens(4, 3))
  t.equal(cache.matchPrefix(longer(old)).numTokens, 4, 'the end of the oldest chain went first')
  cache.grow(seq('x'), 8)
  t.equal(cache.matchPrefix(longer(old)).numTokens, 0)
  t.equal(cache.matchPrefix(longer(recent)).numTokens, 8)
  cache.checkInvariants()
})

t.test('using a cached prefix makes it the last to be evicted', async t => {
  const cache = aCache({ numBlocks: 4 })
  const first = [...someTokens(4, 1), 0]
  const second = [...someTokens(4, 2), 0]
  computed(cache, 'first', first)
  computed(cache, 'second', second)
  computed(cache, 'first again', first)
  // Two blocks never cached go before either, then the chain not used last.
  cache.admit(seq('x'), someTokens(12, 3))
  t.equal(cache.matchPrefix(second).numTokens, 0)
  t.equal(cache.matchPrefix(first).numTokens, 4)
})

t.test('admission counts free matched blocks as taken, and leaves the reserve', async t => {
  const cache = aCache({ numBlocks: 4 })
  const tokens = someTokens(16)
  computed(cache, 'a', tokens)
  t.equal(cache.admit(seq('b'), [...tokens, 1]), undefined, 'three matched, two new, four in all')
  t.equal(cache.admit(seq('b'), tokens.slice(0, 12), { reserveBlocks: 2 }), undefined)
  t.equal(cache.numFree, 4, 'a refusal takes nothing')
  t.equal(cache.stats.numCached, 4, 'and evicts nothing')
  t.equal(cache.admit(seq('b'), tokens.slice(0, 12), { reserveBlocks: 1 })?.numTokens, 8)
  t.equal(cache.numFree, 1)
  cache.checkInvariants()
})

for (const from of [3, 4, 5]) {
  t.test(`growing from ${from} tokens adds a block exactly at the boundary`, async t => {
    const cache = aCache({ numBlocks: 2 })
    cache.admit(seq('a'), someTokens(from))
    const before = cache.blockTable(seq('a'))
    const table = cache.grow(seq('a'), from + 1)
    t.equal(table?.length, from === 3 ? 1 : 2)
    t.same(before, cache.blockTable(seq('a')).slice(0, before.length))
    t.equal(before.length, from === 5 ? 2 : 1, 'a table handed out earlier does not change')
    t.equal(cache.grow(seq('a'), 8)?.length, 2)
    t.equal(cache.grow(seq('a'), 9), undefined)
    t.equal(cache.grow(seq('a'), 2)?.length, 2, 'growing to less changes nothing')
    cache.checkInvariants()
  })
}

for (const [forkAt, copies] of [[3, 1], [4, 0], [5, 1]] as const) {
  t.test(`a fork at ${forkAt} tokens shares every block and copies ${copies} when it writes`, async t => {
    const cache = aCache()
    cache.admit(seq('parent'), someTokens(forkAt))
    cache.fork(seq('parent'), seq('child'), forkAt)
    t.same(cache.blockTable(seq('child')), cache.blockTable(seq('parent')))
    t.same(cache.takeMoves(), [])
    const table = cache.grow(seq('child'), forkAt + 1) ?? []
    const parentLast = cache.blockTable(seq('parent')).at(-1)
    cache.checkInvariants()
    t.same(cache.takeMoves(), copies === 0 ? [] : [{ from: parentLast, to: table.at(-1), direction: 'copy-on-write' }])
    t.same(cache.takeMoves(), [], 'moves are handed out once')
    t.not(table.at(-1), parentLast)
    cache.grow(seq('parent'), forkAt + 1)
    t.same(cache.takeMoves(), [], 'the last holder writes in place')
    cache.checkInvariants()
    cache.release(seq('parent'))
    cache.release(seq('child'))
    cache.checkInvariants()
    t.equal(cache.stats.numUsed, 0)
  })
}

t.test('the parent copies too when it is the first to write', async t => {
  const cache = aCache()
  cache.admit(seq('parent'), someTokens(6))
  const [first, shared] = cache.fork(seq('parent'), seq('child'), 6)
  t.same(cache.grow(seq('parent'), 13), [first, 2, 3, 4], 'one copy and two more')
  t.same(cache.takeMoves(), [{ from: shared, to: 2, direction: 'copy-on-write' }])
  cache.checkInvariants()
})

t.test('a copy that finds no block changes nothing', async t => {
  const cache = aCache({ numBlocks: 2 })
  cache.admit(seq('parent'), someTokens(6))
  cache.fork(seq('parent'), seq('child'), 6)
  t.equal(cache.grow(seq('child'), 7), undefined)
  t.same(cache.takeMoves(), [])
  t.same(cache.blockTable(seq('child')), cache.blockTable(seq('parent')))
  cache.checkInvariants()
})

t.test('a pending copy keeps its source from being reused, and is dropped with its target', async t => {
  const cache = aCache({ numBlocks: 3 })
  cache.admit(seq('parent'), someTokens(2))
  cache.fork(seq('parent'), seq('child'), 2)
  cache.grow(seq('child'), 3)
  cache.release(seq('parent'))
  t.equal(cache.numFree, 1, 'the source waits for its copy')
  cache.admit(seq('other'), someTokens(1))
  cache.release(seq('other'))
  t.equal(cache.takeMoves().length, 1)
  t.equal(cache.numFree, 2)
  cache.fork(seq('child'), seq('grandchild'), 3)
  cache.grow(seq('grandchild'), 4)
  cache.release(seq('grandchild'))
  t.same(cache.takeMoves(), [])
  cache.checkInvariants()
  cache.release(seq('child'))
  t.equal(cache.numFree, 3)
})

t.test('a copy of a copy still pending comes from the first source', async t => {
  const cache = aCache()
  cache.admit(seq('parent'), someTokens(2))
  cache.fork(seq('parent'), seq('child'), 2)
  cache.grow(seq('child'), 3)
  cache.fork(seq('child'), seq('grandchild'), 2)
  cache.grow(seq('grandchild'), 3)
  t.same(cache.takeMoves().map(({ from, to }) => [from, to]), [[0, 1], [0, 2]])
  cache.checkInvariants()
})

t.test('writing in place into a block that others may find takes it out of the cache', async t => {
  const cache = aCache()
  const tokens = someTokens(8)
  cache.admit(seq('parent'), tokens)
  cache.commit(seq('parent'), tokens, 8)
  cache.fork(seq('parent'), seq('child'), 6)
  cache.release(seq('parent'))
  t.equal(cache.matchPrefix([...tokens, 0]).numTokens, 8)
  cache.grow(seq('child'), 7)
  t.same(cache.takeMoves(), [])
  t.equal(cache.matchPrefix([...tokens, 0]).numTokens, 4)
  cache.checkInvariants()
})

t.test('broken promises are errors with a code', async t => {
  const cache = aCache()
  cache.admit(seq('a'), someTokens(4))
  const broken = { code: 'kv_cache_invariant' }
  t.throws(() => cache.admit(seq('a'), someTokens(4)), broken)
  t.throws(() => cache.fork(seq('a'), seq('a'), 4), broken)
  t.throws(() => cache.fork(seq('a'), seq('b'), 5), broken)
  t.throws(() => cache.grow(seq('nobody'), 5), broken)
  t.throws(() => cache.release(seq('nobody')), broken)
  t.throws(() => cache.commit(seq('a'), someTokens(8), 8), broken, 'more computed than there are blocks')
  t.equal(cache.numSequences, 1)
})
