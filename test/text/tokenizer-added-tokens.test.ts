import t from 'tap'
import { AddedTokenFinder } from '../../apps/server/src/text/tokenizer-added-tokens.ts'

t.test('a text without added tokens is one section, and no text none', async t => {
  t.same(new AddedTokenFinder([]).split('a b'), ['a b'])
  t.same(new AddedTokenFinder([]).split(''), [])
  t.same(new AddedTokenFinder([{ id: 1, content: 'x' }]).split(''), [])
  t.same(new AddedTokenFinder([{ id: 1, content: '' }]).split('ab'), ['ab'], 'nothing is not found everywhere')
})

t.test('the leftmost counts, of those that begin together the longest', async t => {
  const finder = new AddedTokenFinder([{ id: 1, content: 'ab' }, { id: 2, content: 'abc' }, { id: 3, content: 'bcd' }])
  t.same(finder.split('abcd'), [2, 'd'])
  t.same(finder.split('xbcdab'), ['x', 3, 1])
})

t.test('names are letters, not patterns', async t => {
  t.same(new AddedTokenFinder([{ id: 1, content: '<|a.b|>' }, { id: 2, content: '[x]' }]).split('<|aXb|>[x]<|a.b|>'), ['<|aXb|>', 2, 1])
})

t.test('white space goes with the token that strips it, and to the first of two', async t => {
  const finder = new AddedTokenFinder([{ id: 1, content: '<l>', lstrip: true }, { id: 2, content: '<r>', rstrip: true }, { id: 3, content: '<n>' }])
  t.same(finder.split('a \t\u3000<l> b'), ['a', 1, ' b'])
  t.same(finder.split('a <r>\n b'), ['a ', 2, 'b'])
  t.same(finder.split('<r>  <l>'), [2, 1])
  t.same(finder.split('  <l>'), [1])
  t.same(finder.split('<n>  <l>  <n>'), [3, 1, '  ', 3])
  t.same(new AddedTokenFinder([{ id: 4, content: ' ', rstrip: true }, { id: 5, content: 'x' }]).split('a   b x'), ['a', 4, 'b', 4, 5], 'what is stripped is not found')
  t.same(finder.split('\u200b<l>'), ['\u200b', 1], 'zero-width space is no white space')
})

t.test('a single word stands between characters that no word has', async t => {
  const finder = new AddedTokenFinder([{ id: 1, content: 'don', single_word: true }])
  t.same(finder.split('don'), [1])
  t.same(finder.split('don\'t'), [1, '\'t'])
  for (const inside of ['done', 'London', 'don_', '𐍈don', 'don٣', 'dońdon'.slice(0, 5)]) t.same(finder.split(inside), [inside], inside)
  t.same(finder.split('🙂don🙂'), ['🙂', 1, '🙂'])
})
