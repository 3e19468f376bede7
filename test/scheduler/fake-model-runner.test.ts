import t from 'tap'
import type { ForwardBatch, ForwardSequence, KVBlockSwap } from '@daybreak/engine/contract'
import { blockId, hostSlot, sequenceId } from '@daybreak/kvcache'
import { FakeModelRunner } from '../fakes/fake-model-runner.ts'
import { greedySampling } from '../fakes/fake-model.ts'

const aForward = (name: string, stateRow: number, overrides: Partial<ForwardSequence> = {}): ForwardSequence => ({
  id: sequenceId(name),
  stateRow,
  tokens: [1, 2, 3],
  startPosition: 0,
  blockTable: [blockId(stateRow)],
  sampling: greedySampling,
  history: undefined,
  scoreTargets: undefined,
  numScoreLogprobs: undefined,
  ...overrides
})

const aBatch = (sequences: readonly ForwardSequence[], rest: Partial<ForwardBatch> = {}): ForwardBatch => ({ step: 0, sequences, moves: [], ...rest })

const move = (from: number, to: number): ForwardBatch['moves'][number] => ({ from: blockId(from), to: blockId(to), direction: 'copy-on-write' })

const swap = (block: number, slot: number): KVBlockSwap => ({ block: blockId(block), slot: hostSlot(slot) })

const broken: Readonly<Record<string, { readonly batch: ForwardBatch, readonly says: RegExp }>> = {
  'steps out of order': { batch: aBatch([aForward('a', 0)], { step: 1 }), says: /numbered in order/ },
  'an empty step': { batch: aBatch([]), says: /empty step/ },
  'more tokens than the budget': { batch: aBatch([aForward('a', 0, { tokens: Array.from({ length: 65 }, () => 1) })]), says: /too many tokens/ },
  'more logit rows than there are': { batch: aBatch([aForward('a', 0, { scoreTargets: Array.from({ length: 16 }, () => 1), numScoreLogprobs: 0 })]), says: /logit rows/ },
  'one state row for two sequences': { batch: aBatch([aForward('a', 0), aForward('b', 0)]), says: /state row twice/ },
  'one block written by two sequences': { batch: aBatch([aForward('a', 0), aForward('b', 1, { blockTable: [blockId(0)] })]), says: /written by/ },
  'a block read in the step that writes it': {
    batch: aBatch([aForward('a', 0), aForward('b', 1, { startPosition: 4, blockTable: [blockId(0), blockId(1)] })]), says: /read in the step/
  },
  'a table that does not cover its tokens': { batch: aBatch([aForward('a', 0, { tokens: [1, 2, 3, 4, 5] })]), says: /does not cover/ },
  'positions nobody has computed': { batch: aBatch([aForward('a', 0, { startPosition: 1 })]), says: /does not hold position 0/ },
  'a decode without a token to continue': { batch: aBatch([aForward('a', 0, { tokens: undefined })]), says: /row it does not own/ },
  'penalties without a history': { batch: aBatch([aForward('a', 0, { sampling: { ...greedySampling, presencePenalty: 1 } })]), says: /counts tokens/ },
  'two moves into one block': { batch: aBatch([aForward('a', 0)], { moves: [move(1, 0), move(2, 0)] }), says: /two moves/ },
  'moves that depend on one another': {
    batch: aBatch([aForward('a', 0), aForward('b', 1)], { moves: [move(2, 1), move(1, 0)] }), says: /both source and target/
  },
  'a prompt that is another\'s': { batch: aBatch([aForward('told', 0)]), says: /not its own/ }
}

for (const [name, { batch, says }] of Object.entries(broken)) {
  t.test(`the fake runner notices ${name}`, async t => {
    const runner = new FakeModelRunner()
    runner.expectPrompt(sequenceId('told'), [9, 9, 9])
    t.throws(() => runner.forward(batch), { message: says })
  })
}

t.test('the fake runner keeps what is swapped, and notices what is read or written before it has arrived', async t => {
  const runner = new FakeModelRunner({}, undefined, { numSlots: 8, groupSize: 4 })
  const first = aBatch([aForward('a', 0)])
  runner.forward(first)
  const out = aBatch([aForward('b', 1, { blockTable: [blockId(0)], tokens: [7, 7, 7] })], { step: 1, swapOuts: [swap(0, 2)] })
  runner.forward(out)
  const back = (step: number, rest: Partial<ForwardBatch> = {}): ForwardBatch =>
    aBatch([aForward('a', 2, { blockTable: [blockId(5)], startPosition: 3, tokens: [4] })], { step, swapIns: [swap(5, 2)], ...rest })
  t.throws(() => runner.forward(back(2)), { message: /still being written/ })
  t.throws(() => runner.forward(aBatch([], { step: 3, swapOuts: [swap(1, 3)] })), { message: /still being written/ }, 'nor its neighbours')
  runner.delivered(out)
  t.throws(() => runner.forward(back(4, { swapOuts: [swap(1, 3)] })), { message: /read in the step that writes it/ })
  t.throws(() => runner.forward(aBatch([], { step: 5, swapOuts: [swap(1, 8)] })), { message: /no such slot/ })
  t.throws(() => runner.forward(aBatch([], { step: 6, swapOuts: [swap(1, 4), swap(2, 4)] })), { message: /slot twice/ })
  t.equal(runner.forward(back(7)).sampled.length, 1)
})
