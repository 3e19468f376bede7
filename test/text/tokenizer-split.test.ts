import t from 'tap'
import { splitText } from '../../apps/server/src/text/tokenizer-split.ts'

t.test('the behaviours of a split', async t => {
  const split = (behavior: Parameters<typeof splitText>[2], invert = false) => splitText('the-final--countdown', /-/g, behavior, invert)
  t.same(split('Removed'), ['the', 'final', 'countdown'])
  t.same(split('Isolated'), ['the', '-', 'final', '-', '-', 'countdown'])
  t.same(split('MergedWithPrevious'), ['the-', 'final-', '-', 'countdown'])
  t.same(split('MergedWithNext'), ['the', '-final', '-', '-countdown'])
  t.same(split('Contiguous'), ['the', '-', 'final', '--', 'countdown'])
  t.same(split('Removed', true), ['-', '-', '-'])
  t.same(split('Isolated', true), ['the', '-', 'final', '-', '-', 'countdown'])
  t.same(split('Contiguous', true), ['the', '-', 'final', '--', 'countdown'])
})

t.test('nothing is lost but what is removed, and no piece is empty', async t => {
  for (const text of ['', '-', '--', '-a', 'a-', 'ab']) {
    for (const behavior of ['Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const) {
      for (const pattern of [/-/g, /(?=-)/g, /x*/g]) {
        const pieces = splitText(text, pattern, behavior, false)
        t.equal(pieces.join(''), text)
        t.notOk(pieces.includes(''))
      }
    }
    t.equal(splitText(text, /-/g, 'Removed', false).join(''), text.replaceAll('-', ''))
  }
})
