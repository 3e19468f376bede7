import { rm } from 'node:fs/promises'
import t from 'tap'
import { openTextService, ModelFileError, UnsupportedTokenizerError } from '../../apps/server/src/text/index.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { randomText } from './random-text.ts'
import { daybreakMini, sentencePieceTokenizer, writeFolder } from './tokenizer-folder.ts'

const END = 1989
const USER = 1986
const keep = { skipSpecialTokens: false }

t.test('the embedded model\'s tokenizer', async t => {
  const service = await openTextService(daybreakMini)
  t.teardown(async () => { await service.close() })

  t.equal(service.vocabSize, 2048)
  t.same(service.eosTokens, [END])

  t.test('every text comes back as it went in', async t => {
    const random = new SeededRandom(11)
    for (let round = 0; round < 200; round++) {
      const text = randomText(random, 12)
      t.equal(service.decode(await service.encode(text, { addSpecialTokens: false }), keep), text, `seed 11, round ${round}`)
    }
  })

  t.test('a lone surrogate is the only thing lost, as U+FFFD', async t => {
    t.equal(service.decode(await service.encode('a\ud800b', { addSpecialTokens: false }), keep), 'a\ufffdb')
  })

  t.test('special tokens in a text are those tokens, unless the caller asks for the letters', async t => {
    t.same(await service.encode('<|user|>a<|end|>', { addSpecialTokens: false }), [USER, 64, END])
    const literal = await service.encode('<|user|>a<|end|>', { addSpecialTokens: false, parseSpecialTokens: false })
    t.notOk(literal.some(token => token >= 1984), 'no special token among them')
    t.equal(service.decode(literal, { skipSpecialTokens: true }), '<|user|>a<|end|>')
  })

  t.test('special tokens are left out of decoded text on request only', async t => {
    t.equal(service.decode([USER, 64, END], keep), '<|user|>a<|end|>')
    t.equal(service.decode([USER, 64, END], { skipSpecialTokens: true }), 'a')
  })

  t.test('padding ids beyond the vocabulary are silent', async t => {
    t.equal(service.decode([64, 2047, 65, 1_000_000], keep), 'ab')
    t.equal(service.tokenBytes(2047).length, 0)
  })

  t.test('a token\'s bytes add up to the text\'s bytes, also where a token is part of a character', async t => {
    const text = 'naïve 🙂 日本'
    const tokens = await service.encode(text, { addSpecialTokens: false })
    t.same(Buffer.concat(tokens.map(token => service.tokenBytes(token))), Buffer.from(text))
    t.ok(tokens.some(token => service.tokenBytes(token)[0] !== undefined && (service.tokenBytes(token)[0] ?? 0) >= 0x80))
  })

  t.test('no text is no tokens, and no tokens are no text', async t => {
    t.same(await service.encode('', { addSpecialTokens: true }), [])
    t.equal(service.decode([], keep), '')
  })
})

t.test('a text over the inline limit is tokenised by a worker to the same ids', async t => {
  const inline = await openTextService(daybreakMini, { inlineCharacters: Infinity })
  const offLoop = await openTextService(daybreakMini, { inlineCharacters: 64 })
  t.teardown(async () => { await Promise.all([inline.close(), offLoop.close()]) })
  const random = new SeededRandom(12)
  const texts = Array.from({ length: 12 }, () => randomText(random, 600) + 'x'.repeat(65))
  for (const parseSpecialTokens of [true, false]) {
    const options = { addSpecialTokens: false, parseSpecialTokens }
    const expected = await Promise.all(texts.map(text => inline.encode(text, options)))
    t.same(await Promise.all(texts.map(text => offLoop.encode(text, options))), expected)
  }
})

t.test('while a worker tokenises, the event loop turns', async t => {
  const service = await openTextService(daybreakMini)
  t.teardown(async () => { await service.close() })
  let turns = 0
  const counter = setInterval(() => { turns++ })
  const tokens = await service.encode('line amber-anchor: 48213\n'.repeat(4000), { addSpecialTokens: false })
  clearInterval(counter)
  t.ok(turns > 1, `${turns} turns`)
  t.equal(tokens.length % 4000, 0)
})

t.test('a SentencePiece tokenizer with byte fallback', async t => {
  const directory = await writeFolder({ 'tokenizer.json': sentencePieceTokenizer(), 'tokenizer_config.json': { bos_token: '<s>', eos_token: { content: '</s>' } } })
  const service = await openTextService(directory)
  t.teardown(async () => {
    await service.close()
    await rm(directory, { recursive: true })
  })

  t.same(service.eosTokens, [2], 'the end token named in the configuration')
  t.equal(service.vocabSize, 279, 'one more than the highest id')

  const hello = await service.encode('hello world', { addSpecialTokens: true })
  t.equal(hello[0], 1, 'BOS from the post-processor')
  t.equal(hello.length, 3)
  t.equal(service.decode(hello, { skipSpecialTokens: true }), 'hello world')

  t.test('text round trips, characters without a piece as bytes', async t => {
    const random = new SeededRandom(13)
    for (let round = 0; round < 100; round++) {
      const text = randomText(random, 8).replaceAll('▁', '')
      t.equal(service.decode(await service.encode(text, { addSpecialTokens: false }), keep), text, `seed 13, round ${round}`)
    }
  })

  t.test('a continuation keeps its leading space, a text of its own does not', async t => {
    const world = hello.slice(2)
    t.equal(service.decode(world, keep), 'world')
    t.equal(service.decode(world, { skipSpecialTokens: false, continuation: true }), ' world')
  })

  t.test('the literal reading of <s> cannot produce BOS, yet BOS is still added when asked for', async t => {
    const literal = await service.encode('<s>', { addSpecialTokens: true, parseSpecialTokens: false })
    t.equal(literal.filter(token => token === 1).length, 1)
    t.equal(service.decode(literal.slice(1), keep), '<s>')
  })
})

t.test('files that are not what they should be', async t => {
  const open = async (files: Record<string, unknown>) => {
    const directory = await writeFolder(files)
    t.teardown(async () => { await rm(directory, { recursive: true }) })
    return await openTextService(directory)
  }
  await t.rejects(open({}), { name: ModelFileError.name, code: 'TEXT_MODEL_FILE', message: /tokenizer\.json: not found/ })
  await t.rejects(open({ 'tokenizer.json': '{' }), { code: 'TEXT_MODEL_FILE', message: /tokenizer\.json: not valid JSON/ })
  await t.rejects(open({ 'tokenizer.json': { added_tokens: 3 } }), { code: 'TEXT_MODEL_FILE' })
  await t.rejects(open({ 'tokenizer.json': sentencePieceTokenizer(), 'config.json': { vocab_size: -1 } }), { code: 'TEXT_MODEL_FILE', message: /config\.json/ })
  await t.rejects(open({ 'tokenizer.json': { ...sentencePieceTokenizer(), model: { type: 'BPE', vocab: {} } } }), { code: 'TEXT_MODEL_FILE', message: /cannot be built: \S/ })
  await t.rejects(open({ 'tokenizer.json': { ...sentencePieceTokenizer(), decoder: { type: 'WordPiece', prefix: '##' } } }), {
    name: UnsupportedTokenizerError.name, code: 'TEXT_UNSUPPORTED_TOKENIZER', details: { decoder: 'WordPiece' }
  })
  for (const type of ['WordPiece', 'WordLevel', 'Foo']) {
    await t.rejects(open({ 'tokenizer.json': { ...sentencePieceTokenizer(), model: { type, vocab: { a: 0 }, unk_token: 'a' } } }), {
      code: 'TEXT_UNSUPPORTED_TOKENIZER', message: /BPE and Unigram are/, details: { model: type }
    })
  }
})
