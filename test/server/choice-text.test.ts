import t from 'tap'
import { ChoiceText } from '../../apps/server/src/openai/choice-text.ts'
import { fakeTextService } from '../fakes/fake-text-service.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'

const text = fakeTextService()
const aChoice = (options: { readonly stop?: readonly string[], readonly echo?: string } = {}) =>
  new ChoiceText({ detokenizer: text.detokenizer({ skipSpecialTokens: true }), stop: options.stop ?? [], collectLogprobs: true, echo: options.echo ?? '' })

/** Feeds tokens as the run does: until a stop string is found, then flush. Returns what a client would put together. */
function read (choice: ChoiceText, tokens: readonly number[]) {
  let shown = ''
  const scored: number[] = []
  const take = (piece: string): void => {
    shown += piece
    scored.push(...choice.takeLogprobs()?.map(({ token }) => token) ?? [])
  }
  for (const token of tokens) {
    const piece = choice.push(token, -1, undefined)
    if (/\p{Surrogate}/u.test(piece)) t.fail('a character was split')
    if (piece !== '') take(piece)
    if (choice.matchedStop !== undefined) break
  }
  take(choice.flush())
  return { shown, scored }
}

t.test('text and scored tokens agree: what is shown is the text before the stop string, and no token behind it is scored', async t => {
  const seed = 7151
  t.comment(`seed ${seed}`)
  const random = new SeededRandom(seed)
  for (let i = 0; i < 500; i++) {
    const whole = Array.from({ length: random.between(0, 12) }, () => random.pick(['a', 'b', 'é', '🌍', ' '])).join('')
    const stop = Array.from({ length: random.between(1, 3) }, () => random.pick(['a', 'b', 'é', '🌍'])).join('')
    const tokens = [...Buffer.from(whole)]
    const cut = whole.indexOf(stop)
    const expected = cut === -1 ? whole : whole.slice(0, cut)
    const { shown, scored } = read(aChoice({ stop: [stop] }), tokens)
    if (shown !== expected || Buffer.from(scored).toString() !== expected) t.strictSame({ whole, stop, shown, scored: Buffer.from(scored).toString() }, { whole, stop, shown: expected, scored: expected })
  }
})

t.test('a token is scored together with the first of its text, not before', async t => {
  const choice = aChoice({ stop: ['<end>'] })
  t.equal(choice.push(0x61, -1, undefined), 'a')
  t.strictSame(choice.takeLogprobs()?.map(({ token }) => token), [0x61])
  t.equal(choice.push(0x3c, -1, undefined), '', '< may begin the stop string')
  t.equal(choice.hasLogprobs, false)
  t.equal(choice.push(0x62, -1, undefined), '<b')
  t.strictSame(choice.takeLogprobs()?.map(({ token, textOffset }) => [token, textOffset]), [[0x3c, 1], [0x62, 2]])
})

t.test('an echo is shown with the first text, and offsets count from its start', async t => {
  const choice = aChoice({ echo: 'Hé' })
  choice.addPromptLogprobs([{ token: 1, logprob: null, top: [], textOffset: 0 }])
  t.equal(choice.push(0x21, -1, undefined), 'Hé!')
  t.strictSame(choice.takeLogprobs()?.map(({ token, textOffset }) => [token, textOffset]), [[1, 0], [0x21, 2]])
  t.equal(aChoice({ echo: 'only' }).flush(), 'only')
})

t.test('a stop string completed by a flushed character still ends the text', async t => {
  const choice = aChoice({ stop: ['\ufffd'] })
  t.equal(choice.push(0x61, -1, undefined), 'a')
  t.equal(choice.push(0xf0, -1, undefined), '')
  t.equal(choice.flush(), '')
  t.equal(choice.matchedStop, '\ufffd')
})
