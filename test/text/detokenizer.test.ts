import { rm } from 'node:fs/promises'
import t from 'tap'
import { ByteDetokenizer } from '../../apps/server/src/text/detokenizer.ts'
import { openTextService, UnsupportedTokenizerError } from '../../apps/server/src/text/index.ts'
import { byteAlphabet, byteRuleOf, TokenBytes } from '../../apps/server/src/text/token-bytes.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { mini, mistral, qwen3 } from './fixtures/tokenizers.ts'
import { randomText } from './random-text.ts'
import { daybreakMini, writeFolder } from './tokenizer-folder.ts'

/** A byte-level vocabulary of the 256 single bytes: token id = byte. */
function singleBytes () {
  const spelling = new Map([...byteAlphabet()].map(([character, byte]) => [byte, character]))
  const rule = byteRuleOf({ type: 'ByteLevel' })
  return new ByteDetokenizer(new TokenBytes(rule, id => spelling.get(id), new Set()), new Set(), rule.strip)
}

const AWKWARD = [0x41, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xff, 0xc0, 0xed, 0xa0, 0xef, 0xbb, 0xbf, 0xf4, 0x90]

t.test('any byte sequence, valid or not, reads as the whole would', async t => {
  const random = new SeededRandom(21)
  for (let round = 0; round < 2000; round++) {
    const bytes = Array.from({ length: 1 + random.integer(10) }, () => random.pick(AWKWARD))
    const detokenizer = singleBytes()
    const text = bytes.map(byte => detokenizer.push(byte)).join('') + detokenizer.flush()
    if (text !== new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes))) {
      t.fail(`seed 21, round ${round}: ${bytes.join(' ')} gave ${JSON.stringify(text)}`)
    }
  }
  t.pass('2,000 sequences')
})

t.test('a character appears with its last byte, and not before', async t => {
  const detokenizer = singleBytes()
  t.same([...Buffer.from('é🙂')].map(byte => detokenizer.push(byte)), ['', 'é', '', '', '', '🙂'])
  t.equal(detokenizer.flush(), '')
})

t.test('a character left incomplete is one U+FFFD at the end', async t => {
  const detokenizer = singleBytes()
  t.same([0xf0, 0x9f, 0x98].map(byte => detokenizer.push(byte)), ['', '', ''])
  t.equal(detokenizer.flush(), '\ufffd')
})

t.test('every cut of a text\'s tokens gives the same text', async t => {
  const service = await openTextService(daybreakMini)
  t.teardown(async () => { await service.close() })
  const random = new SeededRandom(22)
  for (let round = 0; round < 50; round++) {
    const text = randomText(random, 10)
    const tokens = await service.encode(text, { addSpecialTokens: false })
    const stream = service.detokenizer({ skipSpecialTokens: false })
    const pushed = tokens.map(token => stream.push(token))
    const grown = pushed.map((_, end) => pushed.slice(0, end + 1).join(''))
    const wholeCharacters = grown.every(soFar => text.startsWith(soFar) && !/[\ud800-\udbff]$/.test(soFar))
    t.ok(wholeCharacters, `seed 22, round ${round}: ${JSON.stringify(text)}`)
    t.equal(pushed.join('') + stream.flush(), text)
    // What a detokenizer says after `end` pushes and a flush is what decoding those tokens at once says.
    for (let end = 0; end <= tokens.length; end++) {
      const partial = service.detokenizer({ skipSpecialTokens: true })
      const cut = tokens.slice(0, end).map(token => partial.push(token)).join('') + partial.flush()
      if (cut !== service.decode(tokens.slice(0, end), { skipSpecialTokens: true })) t.fail(`seed 22, round ${round}, cut at ${end}`)
    }
  }
})

t.test('any ids, cut anywhere, read as their bytes at once would, in vocabularies of every kind', async t => {
  const random = new SeededRandom(23)
  for (const [name, json] of [['daybreak-mini', mini], ['qwen3', qwen3], ['mistral', mistral]] as const) {
    const directory = await writeFolder({ 'tokenizer.json': json })
    const service = await openTextService(directory)
    t.teardown(async () => {
      await service.close()
      await rm(directory, { recursive: true })
    })
    const special = new Set(json.added_tokens.filter(token => token.special).map(token => token.id))
    for (let round = 0; round < 400; round++) {
      // Most single bytes are among the first ids: half of a sequence is taken from there, and is rarely UTF-8.
      const ids = Array.from({ length: random.integer(30) }, () => random.integer(random.chance(0.5) ? 300 : service.vocabSize + 3))
      for (const options of [{ skipSpecialTokens: false }, { skipSpecialTokens: true }, { skipSpecialTokens: true, continuation: true }]) {
        const read = ids.filter(id => !(options.skipSpecialTokens && special.has(id)))
        const bytes = Buffer.concat(read.map(id => service.tokenBytes(id)))
        const whole = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
        const stripped = json === mistral && options.continuation !== true ? whole.replace(/^ /, '') : whole
        const stream = service.detokenizer(options)
        const streamed = ids.map(id => stream.push(id)).join('') + stream.flush()
        if (streamed !== stripped) t.fail(`seed 23, ${name}, round ${round}: ${ids.join(' ')} gave ${JSON.stringify(streamed)}, not ${JSON.stringify(stripped)}`)
        if (service.decode(ids, options) !== stripped) t.fail(`seed 23, ${name}, round ${round}: decoded at once`)
      }
    }
    t.pass(name)
  }
})

t.test('a skipped special token between the bytes of a character does not break it', async t => {
  const service = await openTextService(daybreakMini)
  t.teardown(async () => { await service.close() })
  const [first = 0, ...rest] = await service.encode('🙂', { addSpecialTokens: false })
  t.ok(rest.length > 0, 'the emoji is more than one token')
  t.equal(service.decode([first, 1989, ...rest], { skipSpecialTokens: true }), '🙂')
  t.equal(service.decode([first, 1989, ...rest], { skipSpecialTokens: false }).includes('<|end|>'), true)
})

t.test('SentencePiece pieces', async t => {
  const rule = byteRuleOf({
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }
    ]
  })
  const pieces = ['▁', '▁a', '<0xE2>', '<0x82>', '<0xAC>', '<0x4>', '▁▁']
  const read = (...ids: number[]) => {
    const detokenizer = new ByteDetokenizer(new TokenBytes(rule, id => pieces[id], new Set()), new Set(), rule.strip)
    return [...ids.map(id => detokenizer.push(id)), detokenizer.flush()]
  }
  t.same(read(1, 2, 3, 4, 1), ['a', '', '', '€', ' a', ''])
  t.same(read(0, 1), ['', ' a', ''], 'one leading space goes, wherever the first text comes from')
  t.same(read(6, 1), [' ', ' a', ''])
  t.same(read(2, 1), ['', '\ufffd a', ''], 'an incomplete character counts as the start of the text')
  t.same(read(5), ['<0x4>', ''], 'only two hexadecimal digits make a byte')
})

t.test('a Metaspace decoder replaces and strips as SentencePiece does', async t => {
  const rule = byteRuleOf({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' })
  t.same(rule.strip, { content: ' ', count: 1 })
  t.same(byteRuleOf({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'never' }).strip.count, 0, 'where none is put in front')
  t.same(byteRuleOf({ type: 'Metaspace', replacement: '▁', add_prefix_space: false }).strip.count, 0, 'nor as old files say it')
  const bytes = new TokenBytes(rule, () => '▁a<0x41>', new Set())
  t.equal(Buffer.from(bytes.of(0)).toString(), ' a<0x41>', 'no byte fallback unless the decoder says so')
})

t.test('decoders that look at more than a token\'s bytes are refused by name', async t => {
  t.throws(() => byteRuleOf(undefined), new UnsupportedTokenizerError({ decoder: 'none' }))
  t.throws(() => byteRuleOf({ type: 'CTC' }), new UnsupportedTokenizerError({ decoder: 'CTC' }))
  t.throws(() => byteRuleOf({ type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Strip', content: ' ', start: 0, stop: 1 }] }), new UnsupportedTokenizerError({ decoder: 'Fuse + Strip' }))
})
