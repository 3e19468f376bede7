import t from 'tap'
import { mergesByScore } from '../../../apps/server/src/text/gguf/sentencepiece-merges.ts'
import { BytePairModel } from '../../../apps/server/src/text/tokenizer-bpe.ts'
import { asBpeModel } from '../../../apps/server/src/text/tokenizer-bpe-file.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { mergeByScore, randomVocabulary } from '../merge-reference.ts'

t.test('text is merged as SentencePiece merges it, also where scores are equal', async t => {
  const random = new SeededRandom(51)
  for (let round = 0; round < 400; round++) {
    const { vocab } = randomVocabulary(random, 'abé𝔘', 2 + random.integer(20))
    const numScores = round % 2 === 0 ? 4 : 1000
    const pieces = Object.keys(vocab).map(content => ({ content, score: -random.integer(numScores) }))
    const { merges, ranks } = mergesByScore(pieces)
    const parsed = asBpeModel({ type: 'BPE', vocab, merges, ...(ranks === undefined ? {} : { merge_ranks: ranks }) })
    if (parsed === undefined) throw new TypeError('not a BPE model')
    const model = new BytePairModel(parsed, { byteLevel: false, special: [] })
    const scores = new Map(pieces.map(({ content, score }) => [content, score]))
    for (const length of [1, 2, 5, 13, 60]) {
      const letters = Array.from({ length }, () => random.pick(['a', 'b', 'é', '𝔘']))
      const ids: number[] = []
      model.encode(letters.join(''), false, ids)
      const expected = mergeByScore(letters, scores).map(token => vocab[token] ?? -1)
      if (ids.join() !== expected.join()) t.fail(`seed 51, round ${round}, ${letters.join('')}: ${ids.join()}, not ${expected.join()}`)
    }
  }
  t.pass('400 vocabularies')
})

t.test('every cut of a piece in two pieces is a merge, and the cuts of one piece rank alike', async t => {
  const pieces = ['a', 'b', 'ab', 'ba', 'aba'].map((content, i) => ({ content, score: -i }))
  t.same(mergesByScore(pieces), { merges: [['a', 'b'], ['b', 'a'], ['a', 'ba'], ['ab', 'a']], ranks: [0, 1, 2, 2] })
  t.same(mergesByScore(pieces.slice(0, 4)), { merges: [['a', 'b'], ['b', 'a']], ranks: undefined })
  t.same(mergesByScore([{ content: '𝔘', score: 0 }, { content: '\ud835', score: 0 }, { content: '\udd18', score: 0 }]).merges, [], 'a character is not cut')
  t.same(mergesByScore([]), { merges: [], ranks: undefined })
})
