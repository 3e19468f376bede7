import t from 'tap'
import { BytePairModel } from '../../apps/server/src/text/tokenizer-bpe.ts'
import { asBpeModel } from '../../apps/server/src/text/tokenizer-bpe-file.ts'
import { Merger, MergeTable } from '../../apps/server/src/text/tokenizer-merges.ts'
import { cutBeforeSpaces } from '../../apps/server/src/text/tokenizer-pieces.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { mergesByRank, mergeSlowly, randomVocabulary } from './merge-reference.ts'
import { randomText } from './random-text.ts'
import { mistral } from './fixtures/tokenizers.ts'

t.test('words merge as they do when every neighbour is looked at before every merge', async t => {
  const random = new SeededRandom(41)
  for (let round = 0; round < 300; round++) {
    const { merges, ids } = randomVocabulary(random, 'abc', 2 + random.integer(25))
    const table = new MergeTable(merges.length)
    // Every other vocabulary has merges of equal rank: there the leftmost pair goes first.
    const ranks = merges.map((_, i) => round % 2 === 0 ? i : i >> 1)
    for (const [i, [left, right]] of merges.entries()) table.add(ids(left), ids(right), ranks[i] ?? 0, ids(left + right))
    const merger = new Merger(table)
    for (const length of [0, 1, 2, 3, 8, 40, 200]) {
      const word = Array.from({ length }, () => random.pick(['a', 'b', 'c']))
      const symbols = Int32Array.from(word, ids)
      const found = [...symbols.subarray(0, merger.merge(symbols, length))]
      const expected = mergeSlowly(word, mergesByRank(merges, ranks)).map(ids)
      if (found.join() !== expected.join()) t.fail(`seed 41, round ${round}, ${word.join('')}: ${found.join()}, not ${expected.join()}`)
    }
  }
  t.pass('300 vocabularies')
})

t.test('no merge makes a forbidden id, and what could come of it is not made either', async t => {
  const table = new MergeTable(2)
  table.add(0, 1, 0, 2)
  table.add(2, 0, 1, 3)
  const merged = (forbidden?: Uint8Array) => {
    const symbols = Int32Array.of(0, 1, 0)
    return [...symbols.subarray(0, new Merger(table).merge(symbols, 3, forbidden))]
  }
  t.same(merged(), [3])
  t.same(merged(Uint8Array.of(0, 0, 0, 1)), [2, 0])
  t.same(merged(Uint8Array.of(0, 0, 1, 0)), [0, 1, 0])
})

t.test('of two merges of one pair the later counts', async t => {
  const table = new MergeTable(2)
  table.add(0, 1, 0, 2)
  table.add(0, 1, 1, 3)
  const symbols = Int32Array.of(0, 1)
  t.equal(new Merger(table).merge(symbols, 2), 1)
  t.equal(symbols[0], 3)
})

/** The ids of a text in one piece, and of the parts it may be cut into. */
function wholeAndCut (model: BytePairModel, text: string): [number[], number[]] {
  const whole: number[] = []
  const cut: number[] = []
  model.encode(text, false, whole)
  for (const part of cutBeforeSpaces(text)) model.encode(part, false, cut)
  return [whole, cut]
}

function bpe (model: object, byteLevel = false): BytePairModel {
  const parsed = asBpeModel(model)
  if (parsed === undefined) throw new TypeError('not a BPE model')
  return new BytePairModel(parsed, { byteLevel, special: [] })
}

t.test('cutting SentencePiece text before its spaces changes no id', async t => {
  const model = bpe(mistral.model)
  t.equal(model.splitsBeforeSpaces, true)
  const random = new SeededRandom(42)
  const spaces = ['▁', '▁▁', '▁▁▁▁', '▁the', '▁a', 'the▁', '▁▁▁of', 'and', '▁\n▁']
  for (let round = 0; round < 2000; round++) {
    const text = Array.from({ length: 1 + random.integer(12) }, () => random.integer(3) === 0 ? randomText(random, 3).replaceAll(' ', '▁') : random.pick(spaces)).join('')
    const [whole, cut] = wholeAndCut(model, text)
    if (whole.join() !== cut.join()) t.fail(`seed 42, round ${round}, ${JSON.stringify(text)}: ${cut.join()}, not ${whole.join()}`)
  }
  t.pass('2,000 texts')
})

t.test('nor does it with any other vocabulary whose merges say that it may be cut', async t => {
  const random = new SeededRandom(43)
  let numCut = 0
  for (let round = 0; round < 400; round++) {
    const { merges, vocab } = randomVocabulary(random, 'ab▁', 2 + random.integer(12))
    const withUnknown = random.integer(2) === 0
    const model = bpe({ type: 'BPE', vocab: withUnknown ? { ...vocab, '<unk>': 1000 } : vocab, unk_token: withUnknown ? '<unk>' : null, fuse_unk: true, merges: merges.map(pair => [...pair]) })
    if (!model.splitsBeforeSpaces) continue
    numCut++
    for (let i = 0; i < 40; i++) {
      const text = Array.from({ length: 1 + random.integer(16) }, () => random.pick(['a', 'b', '▁', '▁', 'é'])).join('')
      const [whole, cut] = wholeAndCut(model, text)
      if (whole.join() !== cut.join()) t.fail(`seed 43, round ${round}, ${text}: ${cut.join()}, not ${whole.join()}`)
    }
  }
  t.ok(numCut > 20, `${numCut} vocabularies`)
})

t.test('text is not cut where a token reaches across a space, where words are taken whole, and where characters are left out', async t => {
  const vocab = { '<unk>': 0, a: 1, '▁': 2, 'a▁': 3, '▁a': 4 }
  const model = { type: 'BPE', unk_token: '<unk>', vocab, merges: ['▁ a'] }
  t.equal(bpe(model).splitsBeforeSpaces, true)
  t.equal(bpe({ ...model, merges: ['▁ a', 'a ▁'] }).splitsBeforeSpaces, false)
  t.equal(bpe({ ...model, ignore_merges: true }).splitsBeforeSpaces, false)
  t.equal(bpe({ ...model, unk_token: null }).splitsBeforeSpaces, false)
  t.equal(bpe({ ...model, vocab: { '<unk>': 0, a: 1 }, merges: [] }).splitsBeforeSpaces, false, 'spaces are unknown')
  t.equal(bpe(model, true).splitsBeforeSpaces, false, 'byte-level')
})

t.test('parts before spaces are the text, and each begins with its spaces', async t => {
  t.same(cutBeforeSpaces('a▁▁b▁'), ['a', '▁▁b', '▁'])
  t.same(cutBeforeSpaces('▁▁a'), ['▁▁a'])
  t.same(cutBeforeSpaces('▁'), ['▁'])
  t.same(cutBeforeSpaces(''), [])
})

t.test('a word of any length is merged, and one that repeats has the same ids again', async t => {
  const model = bpe(mistral.model)
  for (const text of ['a'.repeat(2 ** 18 + 1), 'a'.repeat(200_000), '日'.repeat(50_000), 'ab'.repeat(6)]) {
    const [first, second]: [number[], number[]] = [[], []]
    model.encode(text, false, first)
    model.encode(text, false, second)
    t.same(second, first)
    t.ok(first.length > 0 && first.length <= text.length * 3)
  }
})
