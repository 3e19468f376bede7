import t from 'tap'
import { splitBy, splitFromRight } from '../../../apps/server/src/text/jinja/python-strings.ts'
import { lastPositionOf, positionOf } from '../../../apps/server/src/text/jinja/search.ts'
import { ChatTemplate } from '../../../apps/server/src/text/jinja/template.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'

t.test('a part of any length is found where JavaScript finds it', async t => {
  const random = new SeededRandom(41)
  const letters = (count: number): string => Array.from({ length: count }, () => random.integer(8) === 0 ? 'b' : 'a').join('')
  for (let round = 0; round < 300; round++) {
    const text = letters(random.integer(400))
    const start = random.integer(Math.max(1, text.length))
    const cut = text.slice(start, start + random.integer(140))
    const part = round % 2 === 0 ? cut : letters(60 + random.integer(10))
    const from = random.integer(text.length + 2)
    t.equal(positionOf(text, part, from), text.indexOf(part, from), `seed 41, round ${round}`)
    t.equal(lastPositionOf(text, part), text.lastIndexOf(part), `seed 41, round ${round}`)
    if (part !== '') t.same(splitBy(text, part, -1), text.split(part), `seed 41, round ${round}`)
  }
})

t.test('on both sides of the length from which the search is our own', async t => {
  for (const length of [63, 64, 65]) {
    const part = 'a'.repeat(length - 1) + 'b'
    const text = `aa${part}aaa${part}`
    t.equal(positionOf(text, part), 2)
    t.equal(positionOf(text, part, 3), text.length - length)
    t.equal(lastPositionOf(text, part), text.length - length)
    t.same(splitFromRight(text, part, 1), [`aa${part}aaa`, ''])
    t.equal(positionOf(part, `a${part}`), -1)
  }
})

t.test('splitting from the right begins there', async t => {
  t.same(splitFromRight('aaa', 'aa', -1), ['a', ''])
  t.same(splitBy('aaa', 'aa', -1), ['', 'a'])
})

// V8 would need days for each of these, and nothing could interrupt it.
t.test('a template may look for a long text in a longer one', async t => {
  const repeated = '{% set a = "a" * 1000000 %}{% set part = "a" * 250000 ~ "b" ~ "a" * 250000 %}{% set end = "a" * 250000 ~ "b" %}'
  const found = 'part in a, a.find(part), a.rfind(end), a.count(part), a.split(part) | length, a.rsplit(end, 1) | length, a.replace(part, "") | length, a.partition(part)[1], a.rpartition(end)[1]'
  const rendered = new ChatTemplate(`${repeated}{{ [${found}] }}`).render([], { now: new Date(0), maxCharacters: 1_000_000 })
  t.equal(rendered, '[False, -1, -1, 0, 1, 1, 1000000, \'\', \'\']')
})
