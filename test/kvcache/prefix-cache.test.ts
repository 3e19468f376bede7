import t from 'tap'
import { blockId, PrefixCache } from '@daybreak/kvcache'
import { someTokens } from './tokens.ts'

const BLOCK_SIZE = 4
const collide = (): number => 7

t.test('a block is found under the prefix it was inserted behind, and under no other', async t => {
  const cache = new PrefixCache(8, BLOCK_SIZE)
  const tokens = someTokens(8)
  const first = cache.insert(cache.root(undefined), tokens, 0, blockId(3))
  cache.insert(first, tokens, 4, blockId(5))
  t.equal(cache.find(cache.root(undefined), tokens, 0)?.block, 3)
  t.equal(cache.find(first, tokens, 4)?.block, 5)
  t.same(cache.endingWith(blockId(3)), first, 'a block says which prefix it ends')
  t.throws(() => cache.endingWith(blockId(0)), { code: 'kv_cache_invariant' })
  t.equal(cache.find(cache.root(undefined), tokens, 4), undefined, 'the same tokens at the start are another prefix')
  t.equal(cache.find(first, tokens, 0), undefined)
  t.equal(cache.size, 2)
  cache.checkInvariants()
})

t.test('when every hash collides, only blocks with equal tokens and an equal parent are shared', async t => {
  const cache = new PrefixCache(8, BLOCK_SIZE, collide)
  const a = [...someTokens(4, 1), ...someTokens(4, 3)]
  const b = [...someTokens(4, 2), ...someTokens(4, 3)]
  const root = cache.root(undefined)
  const afterA = cache.insert(root, a, 0, blockId(0))
  const afterB = cache.insert(root, b, 0, blockId(1))
  cache.insert(afterA, a, 4, blockId(2))
  t.equal(cache.find(root, a, 0)?.block, 0)
  t.equal(cache.find(root, b, 0)?.block, 1)
  t.equal(cache.find(afterB, b, 4), undefined, 'same tokens, same hash, other parent')
  cache.insert(afterB, b, 4, blockId(3))
  t.equal(cache.find(afterA, a, 4)?.block, 2)
  t.equal(cache.find(afterB, b, 4)?.block, 3)
  cache.checkInvariants()
  // All four share one bucket: remove from its middle, its end and its head.
  for (const block of [1, 0, 3, 2]) {
    cache.forget(blockId(block))
    cache.checkInvariants()
  }
  t.equal(cache.size, 0)
})

t.test('a second block with equal content gets no entry, and its successors join the same chain', async t => {
  const cache = new PrefixCache(8, BLOCK_SIZE)
  const tokens = someTokens(8)
  const root = cache.root(undefined)
  const original = cache.insert(root, tokens, 0, blockId(0))
  const duplicate = cache.insert(root, tokens, 0, blockId(1))
  t.equal(duplicate.identity, original.identity)
  t.notOk(cache.has(blockId(1)))
  cache.insert(duplicate, tokens, 4, blockId(2))
  t.equal(cache.find(original, tokens, 4)?.block, 2)
})

t.test('a forgotten block is not found, and its old successors are unreachable behind its replacement', async t => {
  const cache = new PrefixCache(8, BLOCK_SIZE)
  const tokens = someTokens(8)
  const root = cache.root(undefined)
  const first = cache.insert(root, tokens, 0, blockId(0))
  cache.insert(first, tokens, 4, blockId(1))
  cache.forget(blockId(0))
  cache.forget(blockId(0))
  t.equal(cache.find(root, tokens, 0), undefined)
  const again = cache.insert(root, tokens, 0, blockId(2))
  t.equal(cache.find(again, tokens, 4), undefined)
  t.equal(cache.size, 2)
  cache.checkInvariants()
})

t.test('salted roots share nothing with each other or with the unsalted one, even when hashes collide', async t => {
  const cache = new PrefixCache(8, BLOCK_SIZE, collide)
  const tokens = someTokens(4)
  cache.insert(cache.root('tenant a'), tokens, 0, blockId(0))
  t.equal(cache.find(cache.root('tenant a'), tokens, 0)?.block, 0)
  t.equal(cache.find(cache.root('tenant b'), tokens, 0), undefined)
  t.equal(cache.find(cache.root(undefined), tokens, 0), undefined)
  cache.insert(cache.root('tenant b'), tokens, 0, blockId(1))
  cache.forget(blockId(0))
  t.equal(cache.find(cache.root('tenant a'), tokens, 0), undefined)
  t.equal(cache.find(cache.root('tenant b'), tokens, 0)?.block, 1)
})

t.test('one block cannot be cached under two contents', async t => {
  const cache = new PrefixCache(8, BLOCK_SIZE)
  cache.insert(cache.root(undefined), someTokens(4, 1), 0, blockId(0))
  t.throws(() => cache.insert(cache.root(undefined), someTokens(4, 2), 0, blockId(0)), { code: 'kv_cache_invariant' })
})

t.test('a pool of a single block has a working table', async t => {
  const cache = new PrefixCache(1, 1)
  cache.insert(cache.root(undefined), [9], 0, blockId(0))
  t.equal(cache.find(cache.root(undefined), [9], 0)?.block, 0)
  t.equal(cache.find(cache.root(undefined), [8], 0), undefined)
})
