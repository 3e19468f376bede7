import t from 'tap'
import type { GenerationRequest } from '@daybreak/scheduler'
import { Harness, promptOf } from '../harness.ts'
import type { RequestShape } from '../harness.ts'

/** Blocks hold 4 tokens. */
const PREFIX = promptOf(12, 700)

function member (numOwnTokens: number, stream: number, shape: RequestShape = {}): RequestShape {
  return { promptTokens: [...PREFIX, ...promptOf(numOwnTokens, stream)], prefixGroup: { id: 'a', length: PREFIX.length }, maxTokens: 3, ...shape }
}

const computed = (harness: Harness): number => harness.scheduler.stats().promptTokensComputed

for (const prefixCaching of [true, false]) {
  t.test(`a group's prefix is computed once however many start together, prefix caching ${prefixCaching ? 'on' : 'off'}`, async t => {
    const harness = new Harness({ prefixCaching })
    const requests = [1, 2, 3, 4].map(stream => harness.add(member(3, stream)))
    t.equal(harness.submit()?.sequences.length, 1, 'one computes, the others wait')
    t.equal(harness.submit()?.sequences.length, 4, 'then all run')
    harness.drain()
    for (const request of requests) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
    t.equal(computed(harness), 12 + 4 * 3)
    t.same(harness.events.flatMap(event => event.type === 'scheduled' ? [event.cachedTokens] : []), [0, 12, 12, 12])
    t.equal(harness.kvCache.stats.numUsed, 0)
  })

  t.test(`members whose prompt is the prefix and nothing else compute its last token, prefix caching ${prefixCaching ? 'on' : 'off'}`, async t => {
    const harness = new Harness({ prefixCaching })
    const requests = [member(0, 1), member(0, 1), member(5, 2)].map(shape => harness.add(shape))
    harness.drain()
    for (const request of requests) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
    t.equal(computed(harness), 12 + 1 + 5)
    t.equal(harness.kvCache.stats.numUsed, 0)
  })
}

t.test('a group and two strangers: nobody waits for what is not theirs', async t => {
  const harness = new Harness()
  const shapes = [{ numPromptTokens: 5 }, member(2, 1), { numPromptTokens: 6 }, member(2, 2)]
  const requests = shapes.map(shape => harness.add(shape))
  t.same(harness.submit()?.sequences.map(({ id }) => id), [0, 1, 2].map(i => `${requests[i]?.id ?? ''}/0`))
  harness.drain()
  for (const request of requests) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('a prefix shorter than a block is not shared, and nobody waits for it', async t => {
  const harness = new Harness({ prefixCaching: false })
  for (const stream of [1, 2]) harness.add({ promptTokens: [...PREFIX.slice(0, 3), ...promptOf(3, stream)], prefixGroup: { id: 'a', length: 3 }, maxTokens: 1 })
  t.equal(harness.submit()?.sequences.length, 2)
})

t.test('whole blocks of a prefix are shared, the rest each member computes', async t => {
  const harness = new Harness({ prefixCaching: false })
  const requests = [1, 2].map(stream => harness.add(member(3, stream, { prefixGroup: { id: 'a', length: 11 } })))
  harness.drain()
  for (const request of requests) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
  t.equal(computed(harness), 15 + 7)
})

t.test('when the one that computes the prefix goes away, the next computes it', async t => {
  for (const numChunks of [1, 2]) {
    const harness = new Harness({ limits: { maxBatchedTokens: 5, maxSequences: 4 } })
    const requests = [1, 2, 3].map(stream => harness.add(member(3, stream)))
    for (let i = 0; i < numChunks; i++) harness.step()
    const [first, ...others] = requests
    if (first !== undefined) harness.abort(first)
    harness.drain()
    for (const request of others) t.same(harness.outputOf(request), harness.aloneOutputOf(request), `aborted after ${numChunks} chunks`)
    t.equal(harness.kvCache.stats.numUsed, 0)
  }
})

t.test('while its reader has paused the one that computes, another does', async t => {
  const harness = new Harness({ limits: { maxBatchedTokens: 5, maxSequences: 4 } })
  const [first, second] = [1, 2].map(stream => harness.add(member(3, stream)))
  harness.step()
  harness.scheduler.pause(first?.id ?? '')
  harness.drain()
  t.same(harness.finishOf(second as GenerationRequest), 'length')
  harness.scheduler.resume(first?.id ?? '')
  harness.drain()
  t.same(harness.outputOf(first as GenerationRequest), harness.aloneOutputOf(first as GenerationRequest))
})

t.test('a prefix is kept for members that wait, whatever else goes through the cache', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 24, maxSequences: 1 } })
  harness.add(member(2, 1, { priority: -2, maxTokens: 1 }))
  const late = harness.add(member(2, 2, { priority: 1 }))
  for (let stream = 10; stream < 16; stream++) harness.add({ promptTokens: promptOf(60, stream), maxTokens: 1 })
  harness.drain()
  t.match(harness.events.find(event => event.type === 'scheduled' && event.id === late.id), { cachedTokens: 12 })
  t.same(harness.outputOf(late), harness.aloneOutputOf(late))
})

t.test('a kept prefix makes room for a request that comes first and does not fit beside it', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 8, maxSequences: 1 } })
  harness.add(member(2, 1, { priority: -2, maxTokens: 1 }))
  const late = harness.add(member(2, 2, { priority: 1 }))
  const large = harness.add({ promptTokens: promptOf(30, 9), maxTokens: 2 })
  harness.drain()
  t.same(harness.outputOf(large), harness.aloneOutputOf(large))
  t.same(harness.outputOf(late), harness.aloneOutputOf(late))
})

t.test('a member that fills the whole cache runs although its own prefix was kept', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 3, maxSequences: 1 }, prefixCaching: false })
  const requests = [1, 2].map(() => harness.add(member(0, 1, { maxTokens: 1 })))
  harness.drain()
  for (const request of requests) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
})

t.test('the blocks are free when the last member is aborted', async t => {
  const harness = new Harness()
  const requests = [1, 2].map(stream => harness.add(member(2, stream, { maxTokens: 20 })))
  harness.step()
  harness.step()
  for (const request of requests) harness.abort(request)
  harness.drain()
  t.equal(harness.kvCache.stats.numUsed, 0)
})

t.test('a prompt that does not begin with the prefix of its group is refused, and the group goes on', async t => {
  const harness = new Harness()
  const first = harness.add(member(2, 1))
  t.throws(() => harness.add({ promptTokens: promptOf(20, 9), prefixGroup: { id: 'a', length: 12 } }), { code: 'invalid_request' })
  t.throws(() => harness.add({ promptTokens: PREFIX.slice(0, 8), prefixGroup: { id: 'a', length: 12 } }), { code: 'invalid_request' })
  harness.drain()
  t.same(harness.outputOf(first), harness.aloneOutputOf(first))
})
