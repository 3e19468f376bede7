import t, { type Test } from 'tap'
import { ggufTextFiles } from '../../../apps/server/src/text/gguf/text-folder.ts'
import type { GgufMetadataValue } from '../../../apps/server/src/text/gguf/vocabulary.ts'

const spm: Record<string, GgufMetadataValue> = {
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': ['<unk>', 'a', 'b'],
  'tokenizer.ggml.scores': Float32Array.of(0, -1, -2),
  'tokenizer.ggml.token_type': Int32Array.of(2, 1, 1)
}
const bpe: Record<string, GgufMetadataValue> = { 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.tokens': ['a', 'b', 'ab'], 'tokenizer.ggml.merges': ['a b'] }

function refuses (t: Test, base: Record<string, GgufMetadataValue>, change: Record<string, GgufMetadataValue | undefined>, message: RegExp): void {
  const entries = Object.entries({ ...base, ...change }).flatMap(([key, value]) => value === undefined ? [] : [[key, value] as const])
  t.throws(() => ggufTextFiles(new Map(entries), 'model.gguf'), { name: 'ModelFileError', code: 'TEXT_MODEL_FILE', details: { file: 'model.gguf' }, message })
}

t.test('kinds of tokenizer that are not read are refused by name', async t => {
  for (const kind of ['bert', 't5', 'rwkv', 'gemma4', 'plamo2', 'none', '']) refuses(t, spm, { 'tokenizer.ggml.model': kind }, new RegExp(`of the kind "${kind}"; llama and gpt2 are read`))
  refuses(t, spm, { 'tokenizer.ggml.model': undefined }, /there is no tokenizer in it/)
  refuses(t, spm, { 'tokenizer.ggml.model': 3 }, /tokenizer\.ggml\.model is not text/)
})

t.test('a pre-tokenizer that is not known is refused with those that are', async t => {
  refuses(t, bpe, { 'tokenizer.ggml.pre': 'kimi-k2' }, /"kimi-k2", which is not known; these are: default, gpt-2, .*llama-bpe.*qwen2/)
})

t.test('keys that are missing, of another type, or do not fit together', async t => {
  refuses(t, spm, { 'tokenizer.ggml.tokens': undefined }, /tokens is missing/)
  refuses(t, spm, { 'tokenizer.ggml.tokens': [] }, /tokens is missing/)
  refuses(t, spm, { 'tokenizer.ggml.tokens': 'a' }, /tokens is not a list of strings/)
  refuses(t, spm, { 'tokenizer.ggml.tokens': Float32Array.of(1) }, /tokens is not a list of strings/)
  refuses(t, spm, { 'tokenizer.ggml.tokens': ['<unk>', 'a', 'a'] }, /tokens 1 and 2 are both "a"/)
  refuses(t, spm, { 'tokenizer.ggml.scores': undefined }, /scores is missing/)
  refuses(t, spm, { 'tokenizer.ggml.scores': Float32Array.of(0, -1) }, /scores has 2 entries for 3 tokens/)
  refuses(t, spm, { 'tokenizer.ggml.scores': Float32Array.of(0, Number.NaN, 0) }, /scores holds what is not a number/)
  refuses(t, spm, { 'tokenizer.ggml.scores': ['0'] }, /scores is not a list of numbers/)
  refuses(t, spm, { 'tokenizer.ggml.token_type': Int32Array.of(1) }, /token_type has 1 entries for 3 tokens/)
  refuses(t, spm, { 'tokenizer.ggml.token_type': Int32Array.of(1, 1, 1), 'tokenizer.ggml.unknown_token_id': 9 }, /neither 256 tokens for bytes nor an unknown token/)
  refuses(t, spm, { 'tokenizer.ggml.add_bos_token': 1 }, /add_bos_token is not a boolean/)
  refuses(t, spm, { 'tokenizer.chat_template': 1 }, /chat_template is not text/)
  refuses(t, spm, { 'tokenizer.chat_template.x': 1 }, /chat_template\.x is not text/)
  refuses(t, bpe, { 'tokenizer.ggml.merges': undefined }, /merges is missing/)
})
