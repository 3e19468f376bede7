import { blockId, hostSlot, sequenceId } from '@daybreak/kvcache'
import type { ForwardBatch, ForwardSequence, KVBlockSwap, ModelRunner, SampledToken } from '@daybreak/engine/contract'
import { engineTest, openForTest } from './engine-under-test.ts'
import { greedy } from './sequence-driver.ts'

const gpu = await openForTest('tiny-llama', { swapSpaceBytes: 64 << 20 })
// Validated: whether a buffer may be mapped, submitted and read when it is, is Dawn's to say.
const checked = await openForTest('tiny-llama', { swapSpaceBytes: 64 << 20, debug: true })
// Six groups and one upload buffer, sixteen groups and two: a group is 16 blocks of 24 KiB.
const GROUP_BYTES = 16 * (24 << 10)
const oneUpload = await openForTest('tiny-llama', { swapSpaceBytes: 7 * GROUP_BYTES, debug: true })
const twoUploads = await openForTest('tiny-llama', { swapSpaceBytes: 18 * GROUP_BYTES, debug: true })
const ended = await openForTest('tiny-llama', { swapSpaceBytes: 7 * GROUP_BYTES })
const none = await openForTest('tiny-llama')

const prompt = Array.from({ length: 70 }, (_, i) => (i * 37) % 300)
/** Five blocks, the last of them partly used. */
const blocks = [3, 4, 5, 9, 8].map(blockId)
const elsewhere = [20, 7, 6, 30, 31].map(blockId)

const swaps = (from: readonly number[], firstSlot: number): KVBlockSwap[] => from.map((block, i) => ({ block: blockId(block), slot: hostSlot(firstSlot + i) }))

function aForward (rest: Partial<ForwardSequence>): ForwardSequence {
  return {
    id: sequenceId('swapped'),
    stateRow: 0,
    tokens: prompt,
    startPosition: 0,
    blockTable: blocks,
    sampling: { ...greedy, numLogprobs: 5 },
    history: undefined,
    scoreTargets: undefined,
    numScoreLogprobs: undefined,
    ...rest
  }
}

/** Somebody else's tokens, over all blocks in reach. */
const overwriting = aForward({ id: sequenceId('other'), stateRow: 1, tokens: prompt.map(token => 299 - token), blockTable: [3, 4, 5, 8, 9].map(blockId) })

/** Numbers the steps, whoever ran some before. */
class Steps {
  readonly #runner: ModelRunner
  #step = 0

  constructor (runner: ModelRunner) {
    this.#runner = runner
  }

  async run (sequences: readonly ForwardSequence[], rest: Partial<ForwardBatch> = {}) {
    return await this.#runner.execute({ step: this.#step++, sequences, moves: [], ...rest })
  }
}

async function undisturbed (steps: Steps): Promise<readonly SampledToken[]> {
  const first = (await steps.run([aForward({})])).sampled[0]
  const second = (await steps.run([aForward({ tokens: [first?.token ?? -1], startPosition: 70 })])).sampled[0]
  const third = (await steps.run([aForward({ tokens: [second?.token ?? -1], startPosition: 71 })])).sampled[0]
  return [first, second, third].flatMap(sampled => sampled === undefined ? [] : [sampled])
}

engineTest('a sequence goes on to the bit after its blocks were in host memory and somebody else in their place', checked, async (t, { runner, report }) => {
  t.match(runner.hostTier, { groupSize: 16 })
  t.ok((runner.hostTier?.blockSeconds ?? 0) > 0, `${runner.hostTier?.blockSeconds} s for a block`)
  const slotBytes = (runner.hostTier?.numSlots ?? 0) * report.kvCacheBytes / runner.limits.numKVBlocks
  t.ok(slotBytes > 0 && slotBytes < report.swapSpaceBytes, 'upload buffers count')
  t.ok(report.swapSpaceBytes <= 64 << 20)
  const steps = new Steps(runner)
  const expected = await undisturbed(steps)
  const first = (await steps.run([aForward({})])).sampled[0]
  t.same(first, expected[0])

  // Out, and overwritten in the same step; two steps in flight.
  const out = steps.run([overwriting], { swapOuts: swaps(blocks, 11) })
  const between = steps.run([overwriting])
  t.ok(((await out).swapSeconds ?? 0) > 0)
  t.equal((await between).swapSeconds, undefined)

  // Back, into blocks one of which goes out itself, and is also copied within the device before the step computes.
  const back = await steps.run(
    [aForward({ tokens: [expected[0]?.token ?? -1], startPosition: 70, blockTable: [...elsewhere.slice(0, 4), blockId(40)] })],
    { swapOuts: swaps([6], 32), swapIns: swaps(elsewhere, 11), moves: [{ from: blockId(31), to: blockId(40), direction: 'copy-on-write' }] }
  )
  t.same(back.sampled[0], expected[1])
  const last = await steps.run([aForward({ tokens: [expected[1]?.token ?? -1], startPosition: 71, blockTable: [...elsewhere.slice(0, 4), blockId(40)] })])
  t.same(last.sampled[0], expected[2])
})

engineTest('slots serve one swap after the other, also when nobody comes back for what is in them', checked, async (t, { runner }) => {
  const steps = new Steps(runner)
  const expected = await undisturbed(steps)
  for (let round = 0; round < 3; round++) {
    await steps.run([overwriting], { swapOuts: swaps(blocks, 0) })
    await steps.run([aForward({ blockTable: elsewhere })])
    await steps.run([], { swapOuts: swaps(elsewhere, 0) })
    await steps.run([], { swapIns: swaps(blocks, 0) })
    t.same((await steps.run([aForward({ tokens: [expected[0]?.token ?? -1], startPosition: 70 })])).sampled[0], expected[1])
  }
})

const PLACES = [0, 15, 4, 9, 2]
/** Slots for five blocks in `numGroups` groups: apart within a group, its first and last ones among them where there are several. */
const spread = (from: readonly number[], numGroups: number): KVBlockSwap[] => from.map((block, i) => ({
  block: blockId(block),
  slot: hostSlot(16 * (i % numGroups) + (PLACES[Math.floor(i / numGroups)] ?? 0))
}))

for (const { engine, numUploads, numSlots } of [{ engine: oneUpload, numUploads: 1, numSlots: 6 * 16 }, { engine: twoUploads, numUploads: 2, numSlots: 16 * 16 }]) {
  engineTest(`swap-ins of fewer and of more groups than ${numUploads} upload buffers come before the steps behind them, which are handed over at once`, engine, async (t, { runner }) => {
    t.equal(runner.hostTier?.numSlots, numSlots)
    const steps = new Steps(runner)
    const expected = await undisturbed(steps)
    for (const numGroups of [1, 2, 3, 4, 5]) {
      await steps.run([aForward({})])
      await steps.run([overwriting], { swapOuts: spread(blocks, numGroups) })
      const token = expected[0]?.token ?? -1
      const second = steps.run([aForward({ tokens: [token], startPosition: 70, blockTable: elsewhere })], { swapIns: spread(elsewhere, numGroups) })
      const third = steps.run([aForward({ tokens: undefined, startPosition: 71, blockTable: elsewhere })])
      // Into the slots that are being read, from blocks that are being filled; and from there into others.
      const out = steps.run([overwriting], { swapOuts: spread(elsewhere, numGroups) })
      t.same((await second).sampled[0], expected[1], `${numGroups} groups`)
      t.ok(((await second).swapSeconds ?? 0) > 0)
      t.same((await third).sampled[0], expected[2])
      await out
      const again = steps.run([], { swapIns: spread(blocks, numGroups) })
      const fourth = steps.run([aForward({ tokens: [expected[1]?.token ?? -1], startPosition: 71 })])
      t.ok(((await again).swapSeconds ?? 0) > 0)
      t.same((await fourth).sampled[0], expected[2])
    }
  })
}

engineTest('what is refused behind a swap-in that waits leaves those before and behind it alone', oneUpload, async (t, { runner }) => {
  const steps = new Steps(runner)
  const expected = await undisturbed(steps)
  await steps.run([aForward({})])
  await steps.run([overwriting], { swapOuts: spread(blocks, 3) })
  const second = steps.run([aForward({ tokens: [expected[0]?.token ?? -1], startPosition: 70 })], { swapIns: spread(blocks, 3) })
  const refused = steps.run([aForward({})], { swapIns: spread(blocks, 3) })
  const third = steps.run([aForward({ tokens: undefined, startPosition: 71 })])
  await t.rejects(refused, { code: 'ENGINE_INVALID_BATCH', message: /has not reached the host/ })
  t.same([(await second).sampled[0], (await third).sampled[0]], [expected[1], expected[2]])
})

engineTest('an engine that ends while a swap-in waits fails that step and those behind it', ended, async (t, { runner }) => {
  const steps = new Steps(runner)
  await steps.run([overwriting], { swapOuts: spread(blocks, 5) })
  const outcomes = Promise.allSettled([steps.run([aForward({})], { swapIns: spread(blocks, 5) }), steps.run([aForward({})])])
  await runner[Symbol.asyncDispose]()
  t.same((await outcomes).map(({ status }) => status), ['rejected', 'rejected'])
})

engineTest('swaps that break the contract are refused, and the engine goes on', gpu, async (t, { runner }) => {
  const steps = new Steps(runner)
  const numSlots = runner.hostTier?.numSlots ?? 0
  const refused = async (rest: Partial<ForwardBatch>, message: RegExp) => await t.rejects(steps.run([aForward({})], rest), { code: 'ENGINE_INVALID_BATCH', message })
  await refused({ swapOuts: [{ block: blockId(-1), slot: hostSlot(0) }] }, /block -1/)
  await refused({ swapOuts: [{ block: blockId(0), slot: hostSlot(numSlots) }] }, /host slot/)
  await refused({ swapOuts: [...swaps([1], 0), ...swaps([2], 0)] }, /twice/)
  const out = steps.run([aForward({})], { swapOuts: swaps(blocks, 0) })
  await refused({ swapIns: swaps(blocks, 0) }, /has not reached the host/)
  await refused({ swapOuts: swaps([1], 6) }, /being written/)
  await out
  await refused({ swapIns: swaps([1], 0), swapOuts: swaps([2], 1) }, /that it reads/)
  await steps.run([aForward({})], { swapIns: swaps(blocks, 0) })
  await refused({ swapIns: swaps(blocks, 0) }, /has not reached the host/)
  await t.rejects(steps.run([]), { message: /nothing to do/ })
  t.equal((await steps.run([aForward({})])).sampled.length, 1)
})

engineTest('an engine without swap space has no host tier and refuses swaps', none, async (t, { runner, report }) => {
  t.equal(runner.hostTier, undefined)
  t.equal(report.swapSpaceBytes, 0)
  await t.rejects(new Steps(runner).run([aForward({})], { swapOuts: swaps([1], 0) }), { message: /no host tier/ })
})
