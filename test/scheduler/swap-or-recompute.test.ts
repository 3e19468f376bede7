import t from 'tap'
import type { ForwardBatch, StepResult } from '@daybreak/engine/contract'
import { blockId, hostSlot, sequenceId } from '@daybreak/kvcache'
import { SwapOrRecompute } from '@daybreak/scheduler'
import { greedySampling } from '../fakes/fake-model.ts'

function aBatch (lengths: readonly number[], numSwaps = 0): ForwardBatch {
  return {
    step: 0,
    moves: [],
    sequences: lengths.map((length, i) => ({
      id: sequenceId(`${i}`),
      stateRow: i,
      tokens: new Array<number>(length).fill(0),
      startPosition: 0,
      blockTable: [],
      sampling: greedySampling,
      history: undefined,
      scoreTargets: undefined,
      numScoreLogprobs: undefined
    })),
    ...numSwaps > 0 && { swapOuts: Array.from({ length: numSwaps }, (_, i) => ({ block: blockId(i), slot: hostSlot(i) })) }
  }
}

const took = (deviceSeconds: number, swapSeconds?: number): StepResult =>
  ({ sampled: [], scored: new Map(), hostSeconds: 0, deviceSeconds, ...swapSeconds !== undefined && { swapSeconds } })

const lost = { numBlocks: 10, numTokens: 160 }

t.test('as long as either cost is unknown, what is lost is computed again', async t => {
  const known = new SwapOrRecompute('auto', 0.001)
  t.notOk(known.swaps(lost), 'no prompt has been computed yet')
  known.observe(aBatch([100]), took(1))
  t.ok(known.swaps(lost))
  const unknown = new SwapOrRecompute('auto', undefined)
  unknown.observe(aBatch([100]), took(1))
  t.notOk(unknown.swaps(lost), 'nothing says how fast copies are')
  unknown.observe(aBatch([], 10), took(0, 0.01))
  t.ok(unknown.swaps(lost))
})

t.test('the faster way is taken, on both sides of where they are equal: copies go there and back', async t => {
  const choice = new SwapOrRecompute('auto', 1 / 8)
  choice.observe(aBatch([64]), took(1))
  t.strictSame([choice.blockSeconds, choice.tokenSeconds], [1 / 8, 1 / 64])
  t.notOk(choice.swaps({ numBlocks: 10, numTokens: 160 }), '2.5 seconds either way')
  t.ok(choice.swaps({ numBlocks: 10, numTokens: 161 }))
  t.notOk(choice.swaps({ numBlocks: 11, numTokens: 161 }))
})

t.test('how many blocks take as long as so many tokens is nothing until both are known', async t => {
  const choice = new SwapOrRecompute('auto', 1 / 8)
  t.equal(choice.blocksIn(64), 0)
  choice.observe(aBatch([64]), took(1))
  t.strictSame([choice.blocksIn(64), choice.blocksIn(63), choice.blocksIn(8), choice.blocksIn(7)], [8, 7, 1, 0])
  t.equal(new SwapOrRecompute('swap', undefined).blocksIn(64), 0)
})

t.test('what cannot be copied is computed, and a mode that is set decides the rest', async t => {
  t.notOk(new SwapOrRecompute('swap', undefined).swaps({ numBlocks: 0, numTokens: 160 }))
  t.ok(new SwapOrRecompute('swap', undefined).swaps(lost))
  const never = new SwapOrRecompute('recompute', 1e-9)
  never.observe(aBatch([100]), took(1))
  t.notOk(never.swaps(lost))
})

t.test('estimates follow what steps take, large ones faster than small ones', async t => {
  const choice = new SwapOrRecompute('auto', 5)
  choice.observe(aBatch([100]), took(1))
  choice.observe(aBatch([10]), took(1))
  t.equal(choice.tokenSeconds, (0.9 + 1) / (90 + 10))
  choice.observe(aBatch([], 64), took(0, 64))
  t.equal(choice.blockSeconds, (5 * 64 + 64) / 128, 'the first guess counts like a swap of 64 blocks')
  for (let i = 0; i < 50; i++) choice.observe(aBatch([], 1000), took(0, 200))
  t.ok(Math.abs((choice.blockSeconds ?? NaN) - 0.2) < 0.05)
})

t.test('one slow swap does not end swapping, since nothing would ever correct it', async t => {
  const choice = new SwapOrRecompute('auto', 2e-5)
  choice.observe(aBatch([1000]), took(0.011))
  const long = { numBlocks: 128, numTokens: 2048 }
  t.ok(choice.swaps(long))
  choice.observe(aBatch([], 3), took(0, 0.1))
  t.notOk(choice.swaps(long), 'for now')
  for (let i = 0; i < 100; i++) choice.observe(aBatch([1]), took(0.002))
  t.ok(choice.swaps(long), 'and again when that is long past')
})

t.test('steps that are mostly decodes say nothing about prompts', async t => {
  const choice = new SwapOrRecompute('auto', 1)
  choice.observe(aBatch([1, 1, 1, 1]), took(1))
  choice.observe(aBatch([4, 1, 1, 1, 1]), took(1))
  t.equal(choice.tokenSeconds, undefined)
  choice.observe(aBatch([5, 1, 1, 1, 1]), took(1))
  t.equal(choice.tokenSeconds, 1 / 9)
  choice.observe(aBatch([100]), took(0))
  t.equal(choice.tokenSeconds, 0.9 / 108.1)
})
