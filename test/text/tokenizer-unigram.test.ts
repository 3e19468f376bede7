import t from 'tap'
import { parseTokenizerJson } from '../../apps/server/src/text/model-files.ts'
import { Tokenizer } from '../../apps/server/src/text/tokenizer.ts'
import { sentencePieceTokenizer } from './tokenizer-folder.ts'

const byte = (value: number): string => `<0x${value.toString(16).toUpperCase().padStart(2, '0')}>`
const BYTES = Array.from({ length: 256 }, (_, value) => byte(value))
const parsed = { addSpecialTokens: false, parseSpecialTokens: true }
const literal = { addSpecialTokens: false, parseSpecialTokens: false }

/** Over these pieces with their scores, behind `<unk>`, `<s>` and `</s>`, which have the score 0. */
function aTokenizer (pieces: ReadonlyArray<readonly [string, number]>, model: object = {}): Tokenizer {
  const vocab = [['<unk>', 0], ['<s>', 0], ['</s>', 0], ...pieces]
  const json = { ...sentencePieceTokenizer(), normalizer: null, post_processor: null, model: { type: 'Unigram', unk_id: 0, byte_fallback: false, vocab, ...model } }
  return new Tokenizer({ tokenizer: parseTokenizerJson(json), config: {} }, 'test')
}

const spelled = (tokenizer: Tokenizer, text: string, options = parsed) => tokenizer.encode(text, options).map(id => tokenizer.spelling(id))

t.test('the cut with the greatest sum of scores is taken, and of equal ones the first', async t => {
  const tokenizer = aTokenizer([['a', -1], ['b', -1], ['ab', -1.5], ['abc', -9], ['c', -2], ['ba', -2]])
  t.same(spelled(tokenizer, 'abc'), ['ab', 'c'])
  t.same(spelled(tokenizer, 'aba'), ['ab', 'a'])
  t.same(spelled(tokenizer, 'ba'), ['ba'], 'equal to b and a, and begins first')
})

t.test('a run of unknown characters is one unknown token, or its bytes', async t => {
  const pieces = [['a', -1]] as const
  t.same(spelled(aTokenizer(pieces), 'axyaz'), ['a', '<unk>', 'a', '<unk>'])
  const withBytes = aTokenizer([...BYTES.map(piece => [piece, 0] as const), ...pieces], { byte_fallback: true })
  t.same(spelled(withBytes, 'aé🙂a'), ['a', ...[...Buffer.from('é🙂')].map(byte), 'a'])
  const withFewBytes = aTokenizer([[byte(0x78), 0], ...pieces], { byte_fallback: true })
  t.same(spelled(withFewBytes, 'ax'), ['a', '<unk>'], 'only all of them will do')
})

t.test('a literal reading reaches no special token', async t => {
  const tokenizer = aTokenizer([['<', -1], ['s', -1], ['>', -1]])
  t.same(spelled(tokenizer, 's<s>'), ['s', '<s>'])
  t.same(spelled(tokenizer, 's<s>', literal), ['s', '<', 's', '>'])
  t.same(spelled(aTokenizer([['s', -1]]), 's</s>', literal), ['s', '<unk>', 's', '<unk>'])
})

t.test('a text without a single space is cut like any other', async t => {
  const tokenizer = aTokenizer([['a', -1], ['aaaa', -2]])
  t.equal(tokenizer.encode('a'.repeat(2 ** 20 + 1), parsed).length, 2 ** 18 + 1)
  t.same(spelled(tokenizer, 'x'.repeat(2 ** 20)), ['<unk>'])
  t.same(spelled(tokenizer, 'aaaaa'), ['a', 'aaaa'], 'and leaves nothing behind')
  t.same(spelled(tokenizer, ''), [])
})

t.test('a vocabulary that is none is refused with its reason', async t => {
  t.throws(() => aTokenizer([], { vocab: [['<unk>', 0], ['a']] }), { code: 'TEXT_MODEL_FILE', message: /entry 1 of the vocabulary is not a token and its score/ })
  t.throws(() => aTokenizer([], { unk_id: 3 }), { code: 'TEXT_MODEL_FILE', message: /the unknown token is 3 of 3/ })
  t.throws(() => aTokenizer([], { unk_id: null }), { code: 'TEXT_MODEL_FILE', message: /unk_id/ })
})
