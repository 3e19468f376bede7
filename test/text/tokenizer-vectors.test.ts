import { readFileSync } from 'node:fs'
import t from 'tap'
import { z } from 'zod'
import { parseTokenizerJson } from '../../apps/server/src/text/model-files.ts'
import { Tokenizer } from '../../apps/server/src/text/tokenizer.ts'
import { recordedTokenizers } from './fixtures/tokenizers.ts'
import { TEXTS } from './fixtures/texts.ts'

const vectors = z.record(z.string(), z.array(z.array(z.int()))).parse(JSON.parse(readFileSync(new URL('./fixtures/vectors.json', import.meta.url), 'utf8')))

t.test('every text has the ids that Hugging Face\'s Rust library gives it', async t => {
  for (const [name, json] of recordedTokenizers()) {
    const tokenizer = new Tokenizer({ tokenizer: parseTokenizerJson(json), config: {} }, name)
    t.same(TEXTS.map(text => tokenizer.encode(text, { addSpecialTokens: true, parseSpecialTokens: true })), vectors[name], name)
  }
})
