import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { ggufTextFiles, prepareGgufTextFolder } from '../../../apps/server/src/text/gguf/text-folder.ts'
import type { GgufMetadata, GgufMetadataValue } from '../../../apps/server/src/text/gguf/vocabulary.ts'
import { openTextService } from '../../../apps/server/src/text/index.ts'
import { Tokenizer } from '../../../apps/server/src/text/tokenizer.ts'
import { parseTokenizerJson } from '../../../apps/server/src/text/model-files.ts'
import { asGguf, mistral, qwen3 } from '../fixtures/tokenizers.ts'
import { TEXTS } from '../fixtures/texts.ts'
import { sentencePieceMetadata } from './sentencepiece-metadata.ts'

const withKeys = (metadata: GgufMetadata, keys: Record<string, GgufMetadataValue>) => new Map([...metadata, ...Object.entries(keys)])
const tokenizerOf = (metadata: GgufMetadata) => new Tokenizer({ tokenizer: parseTokenizerJson(ggufTextFiles(metadata)['tokenizer.json']), config: {} }, 'test')
const plain = { addSpecialTokens: false, parseSpecialTokens: true }

t.test('a byte-level vocabulary gives the ids of the file it was made from', async t => {
  const original = new Tokenizer({ tokenizer: parseTokenizerJson(qwen3), config: {} }, 'qwen3')
  const converted = tokenizerOf(asGguf(qwen3, 'qwen2'))
  for (const parseSpecialTokens of [true, false]) {
    const options = { ...plain, parseSpecialTokens }
    t.same(TEXTS.map(text => converted.encode(text, options)), TEXTS.map(text => original.encode(text, options)))
  }
  t.same(converted.specialTokens, original.specialTokens)
})

t.test('a SentencePiece vocabulary without merges gives the ids of the file it was made from', async t => {
  const original = new Tokenizer({ tokenizer: parseTokenizerJson(mistral), config: {} }, 'mistral')
  const converted = tokenizerOf(sentencePieceMetadata(mistral))
  for (const addSpecialTokens of [true, false]) {
    // Runs of more spaces than a token has are cut from the left here, and another way by Hugging Face's merges.
    const texts = TEXTS.filter(text => !text.includes(' '.repeat(16)))
    const options = { ...plain, addSpecialTokens }
    t.same(texts.map(text => converted.encode(text, options)), texts.map(text => original.encode(text, options)))
  }
  const sixteen = converted.idOf('▁'.repeat(16)) ?? -1
  t.same(converted.encode(' '.repeat(39), plain), [sixteen, sixteen, converted.idOf('▁'.repeat(8))])
})

t.test('the folder is what the text service opens', async t => {
  const folder = join(await mkdtemp(join(tmpdir(), 'daybreak-gguf-')), 'text')
  t.teardown(async () => { await rm(join(folder, '..'), { recursive: true }) })
  const metadata = withKeys(sentencePieceMetadata(mistral), { 'tokenizer.chat_template': '{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}' })
  await Promise.all([prepareGgufTextFolder(metadata, folder), prepareGgufTextFolder(metadata, folder)])
  t.same((await readdir(folder)).sort(), ['generation_config.json', 'tokenizer.json', 'tokenizer_config.json'])
  const service = await openTextService(folder, { inlineCharacters: 64 })
  t.teardown(async () => { await service.close() })
  t.same(service.eosTokens, [2])
  const long = TEXTS.filter(text => !/▁|<s>/.test(text)).join(' ')
  t.equal(service.decode(await service.encode(long, { addSpecialTokens: false }), { skipSpecialTokens: false }), long)
  const chat = await service.encodeChat([{ role: 'user', content: 'Hello' }], { addGenerationPrompt: true })
  t.equal(chat[0], 1)
  t.equal(service.decode(chat, { skipSpecialTokens: true }), '[Hello]')
})

t.test('padding of the vocabulary counts, and stands for nothing', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'daybreak-gguf-'))
  t.teardown(async () => { await rm(folder, { recursive: true }) })
  const { contents, types, scores } = { contents: ['<unk>', '<s>', '</s>', 'a', '[PAD4]', ''], types: [2, 3, 3, 1, 5, 5], scores: [0, 0, 0, -1, 0, 0] }
  await prepareGgufTextFolder(new Map<string, GgufMetadataValue>([
    ['tokenizer.ggml.model', 'llama'], ['tokenizer.ggml.tokens', contents], ['tokenizer.ggml.token_type', Int32Array.from(types)], ['tokenizer.ggml.scores', Float32Array.from(scores)]
  ]), folder)
  const service = await openTextService(folder)
  t.teardown(async () => { await service.close() })
  t.equal(service.vocabSize, 6)
  t.equal(service.decode([3, 4, 5, 3], { skipSpecialTokens: false }), 'aa')
  t.same(await service.encode('a[PAD4]', { addSpecialTokens: true }), [1, 0, 3, 0], 'known letters between unknown ones, which are one token together')
})

t.test('what is added around a text is what the file says', async t => {
  const byteLevel = asGguf(qwen3, 'qwen2')
  const dressed = (metadata: GgufMetadata) => tokenizerOf(metadata).encode('a', { ...plain, addSpecialTokens: true })
  const [a = -1] = dressed(byteLevel)
  t.same(dressed(byteLevel), [a])
  const ids = { 'tokenizer.ggml.bos_token_id': 3257, 'tokenizer.ggml.eos_token_id': 3258 }
  t.same(dressed(withKeys(byteLevel, ids)), [a])
  t.same(dressed(withKeys(byteLevel, { ...ids, 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.add_eos_token': true })), [3257, a, 3258])
  t.same(dressed(withKeys(byteLevel, { ...ids, 'tokenizer.ggml.pre': 'llama-bpe' })), [3257, a], 'this family has a BOS unless the file says no')
  t.same(dressed(withKeys(byteLevel, { ...ids, 'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.ggml.add_bos_token': false })), [a])
  t.equal(dressed(sentencePieceMetadata(mistral))[0], 1)
  t.not(dressed(withKeys(sentencePieceMetadata(mistral), { 'tokenizer.ggml.add_bos_token': false }))[0], 1)
  t.throws(() => dressed(withKeys(byteLevel, { 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.bos_token_id': 99_999 })), { code: 'TEXT_MODEL_FILE', message: /add_bos_token is on/ })
})

t.test('without a prefix space none is put before a text, nor taken off one', async t => {
  const metadata = withKeys(sentencePieceMetadata(mistral), { 'tokenizer.ggml.add_space_prefix': false })
  const tokenizer = tokenizerOf(metadata)
  t.equal(tokenizer.encode('the', plain).map(id => tokenizer.spelling(id)).join('|'), 'the')
  t.equal(tokenizer.encode(' the', plain).map(id => tokenizer.spelling(id)).join('|'), '▁the')
})

t.test('templates and their variants, and the names of special tokens', async t => {
  const config = (keys: Record<string, GgufMetadataValue>) => ggufTextFiles(withKeys(sentencePieceMetadata(mistral), keys))['tokenizer_config.json']
  t.match(config({}), { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', pad_token: null })
  t.notOk('chat_template' in config({}))
  t.match(config({ 'tokenizer.chat_template': 'x' }), { chat_template: 'x' })
  t.match(config({ 'tokenizer.chat_template': 'x', 'tokenizer.chat_template.tool_use': 'y', 'tokenizer.chat_templates': ['tool_use'] }), {
    chat_template: [{ name: 'default', template: 'x' }, { name: 'tool_use', template: 'y' }]
  })
})

t.test('a generation ends at the tokens that the file names, and at those known to end a turn', async t => {
  const ends = (contents: string[], types: number[], keys: Record<string, GgufMetadataValue>) => z.object({ eos_token_id: z.array(z.int()) }).parse(
    ggufTextFiles(new Map<string, GgufMetadataValue>([
      ['tokenizer.ggml.model', 'gpt2'], ['tokenizer.ggml.pre', 'gpt-2'], ['tokenizer.ggml.merges', new Uint8Array(0)],
      ['tokenizer.ggml.tokens', contents], ['tokenizer.ggml.token_type', Int32Array.from(types)], ...Object.entries(keys)
    ]))['generation_config.json']).eos_token_id
  t.same(ends(['a', 'b', 'c'], [3, 3, 3], { 'tokenizer.ggml.eos_token_id': 1, 'tokenizer.ggml.eot_token_id': 2 }), [1, 2])
  t.same(ends(['<|eot_id|>', '<|im_end|>', 'x'], [3, 1, 3], { 'tokenizer.ggml.eos_token_id': 2 }), [2, 0], 'only control tokens count')
  t.same(ends(['<|end|>', '<|return|>', '<|call|>'], [3, 3, 3], {}), [1, 2], 'a message\'s end is not the turn\'s')
  t.same(ends(['<|end|>'], [3], { 'tokenizer.ggml.eos_token_id': 7 }), [0], 'an id beyond the vocabulary names nothing')
})

t.test('files that say no types are read by their keys', async t => {
  const metadata = sentencePieceMetadata(mistral)
  metadata.delete('tokenizer.ggml.token_type')
  metadata.set('tokenizer.ggml.bos_token_id', 1)
  t.same([...tokenizerOf(metadata).specialTokens.keys()], [0, 1, 2])
})

t.test('Phi-3\'s special tokens take the white space behind them', async t => {
  const phi = tokenizerOf(withKeys(sentencePieceMetadata(mistral), { 'general.name': 'Phi 3 Mini' }))
  const other = tokenizerOf(sentencePieceMetadata(mistral))
  t.same(phi.encode('</s>\n a', plain), other.encode('</s>a', plain))
  t.same(phi.encode('<s>\n a', plain), other.encode('<s>\n a', plain))
})
