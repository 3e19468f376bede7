import { blockId, hostSlot, sequenceId } from '@daybreak/kvcache'
import type { ForwardBatch, ForwardSequence, KVBlockSwap, ModelRunner, SampledToken } from '@daybreak/engine/contract'
import { engineTest, openForTest } from './engine-under-test.ts'
import { greedy } from './sequence-driver.ts'

const gpu = await openForTest('tiny-llama', { swapSpaceBytes: 64 << 20 })
// Validated: whether a buffer may be mapped, submitted and read when it is, is Dawn's to say.
const checked = await openForTest('tiny-llama', { swapSpaceBytes: 64 << 20, debug: true })
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
  t.equal(report.swapSpaceBytes % ((runner.hostTier?.numSlots ?? 0) || 1), 0)
  t.ok(report.swapSpaceBytes > 0 && report.swapSpaceBytes <= 64 << 20)
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
