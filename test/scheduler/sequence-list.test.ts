import t from 'tap'
import { greedySampling } from '../fakes/fake-model.ts'
import { SequenceGroup } from '../../packages/scheduler/src/sequence.ts'
import type { Sequence } from '../../packages/scheduler/src/sequence.ts'
import { SequenceList } from '../../packages/scheduler/src/sequence-list.ts'

function aSequence (arrival: number, priority = 0): Sequence {
  const request = { id: `${arrival}`, promptTokens: [1], choices: [{ sampling: greedySampling, outputTokens: [] }], maxTokens: 1, stopTokens: [], priority, promptLogprobs: undefined }
  const [sequence] = new SequenceGroup(request, arrival, 0, 2).sequences
  if (sequence === undefined) throw new Error('a request has a sequence')
  return sequence
}

const names = (sequences: Iterable<Sequence>): string[] => Array.from(sequences, ({ group }) => group.id)

t.test('sequences stand in the order in which they are served, whenever they come', async t => {
  const list = new SequenceList()
  for (const sequence of [aSequence(3), aSequence(1), aSequence(2, -1), aSequence(0, 1)]) list.add(sequence)
  t.same(names(list), ['2', '1', '3', '0'])
  t.equal(list.size, 4)
})

t.test('a walk sees the list as it was when it began, whatever it adds and deletes itself', async t => {
  const list = new SequenceList()
  const sequences = [0, 1, 2, 3].map(arrival => aSequence(arrival))
  for (const sequence of sequences) list.add(sequence)
  const seen: string[] = []
  for (const sequence of list) {
    seen.push(sequence.group.id)
    list.delete(sequence)
    list.add(aSequence(10 + seen.length))
    // A walk within a walk, which sees the changes so far, and no later ones.
    t.same(names(list), [...['0', '1', '2', '3'].slice(seen.length), ...seen.map((_, i) => `${11 + i}`)])
  }
  t.same(seen, ['0', '1', '2', '3'])
  t.same(names(list), ['11', '12', '13', '14'])
})

t.test('deleting a sequence that is not in the list changes nothing', async t => {
  const list = new SequenceList()
  const [kept, never] = [aSequence(0), aSequence(1)]
  list.add(kept)
  list.delete(never)
  t.same(names(list), ['0'])
})
