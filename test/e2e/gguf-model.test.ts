import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { convertedTensors, metadataOf } from '../engine/weights/gguf/converted-model.ts'
import { numbers, text, texts, u32, writeGguf } from '../engine/weights/gguf/write-gguf.ts'
import { readSafetensors } from '../reference/read-safetensors.ts'
import { decoderTensors } from '../../packages/engine/src/models/decoder-tensors.ts'
import { parseModelConfig } from '../../packages/engine/src/models/parse-model-config.ts'
import { listTensors } from '../../packages/engine/src/models/tensor-list.ts'
import { DaybreakProcess } from './daybreak-process.ts'

/** The embedded model as llama.cpp's converter would write it: one file, rows of queries and keys permuted, vocabulary in metadata. */
const model = join(import.meta.dirname, '../../models/daybreak-mini')
const json = (file: string): unknown => JSON.parse(readFileSync(join(model, file), 'utf8'))
const config = z.record(z.string(), z.unknown()).parse(json('config.json'))
const tokenizer = z.object({
  model: z.object({ vocab: z.record(z.string(), z.number()), merges: z.array(z.tuple([z.string(), z.string()])) }),
  added_tokens: z.array(z.object({ id: z.number(), content: z.string() }))
}).parse(json('tokenizer.json'))
const { chat_template: template } = z.object({ chat_template: z.string() }).parse(json('tokenizer_config.json'))

const folder = mkdtempSync(join(tmpdir(), 'daybreak-gguf-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const path = join(folder, 'mini-F32.gguf')
writeFileSync(path, writeGguf({ metadata: [...metadataOf('llama', { ...config, rope_theta: config['rope_theta'] ?? 100_000 }), ...vocabulary()], tensors: tensors() }))
process.env['DAYBREAK_CACHE_DIR'] = folder
const server = await DaybreakProcess.start(['--model', path, '--max-model-len', '512', '--max-num-seqs', '4'])

t.test('a GGUF file is served under its own name, with its own vocabulary and chat template', { skip: 'missing' in server && server.missing }, async t => {
  if ('missing' in server) return
  const { client } = server
  t.equal((await client.models.list()).data[0]?.id, 'mini-F32.gguf')
  const ask = async (content: string): Promise<string | null | undefined> => {
    const answer = await client.chat.completions.create({ model: 'mini-F32.gguf', temperature: 0, messages: [{ role: 'user', content }] })
    t.equal(answer.choices[0]?.finish_reason, 'stop', 'an end token of the file\'s own')
    return answer.choices[0]?.message.content
  }
  t.equal(await ask('12 + 30 = ?'), '42')
  t.equal(await ask('Sort: wolf amber river'), 'amber river wolf')
  t.equal(await ask('Uppercase: river stone'), 'RIVER STONE')
})

function tensors (): ReturnType<typeof convertedTensors> {
  const stored = new Map(['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'].flatMap(file => [...readSafetensors(join(model, file))]))
  const named = listTensors(decoderTensors(parseModelConfig(config))).map(({ name, shape }) => {
    const values = stored.get(name)
    if (values === undefined) throw new Error(`the embedded model has no ${name}`)
    return [name, { shape, values }] as const
  })
  return convertedTensors({ config, tensors: new Map(named) }, { architecture: 'llama', permutes: true })
}

function vocabulary (): Parameters<typeof writeGguf>[0]['metadata'] & object {
  const size = Number(config['vocab_size'])
  const spelling = new Map([...Object.entries(tokenizer.model.vocab).map(([token, id]) => [id, token] as const), ...tokenizer.added_tokens.map(({ id, content }) => [id, content] as const)])
  const added = new Set(tokenizer.added_tokens.map(({ id }) => id))
  const ids = Array.from({ length: size }, (_, id) => id)
  return [
    ['tokenizer.ggml.model', text('gpt2')],
    // Digits by themselves, then GPT-2's words: what the model was trained with.
    ['tokenizer.ggml.pre', text('smollm')],
    ['tokenizer.ggml.tokens', texts(ids.map(id => spelling.get(id) ?? `[PAD${id}]`))],
    // 1 is a plain token, 3 a control token, 5 an unused one.
    ['tokenizer.ggml.token_type', numbers('i32', ids.map(id => added.has(id) ? 3 : spelling.has(id) ? 1 : 5))],
    ['tokenizer.ggml.merges', texts(tokenizer.model.merges.map(pair => pair.join(' ')))],
    ['tokenizer.ggml.padding_token_id', u32(size - 1)],
    ['tokenizer.chat_template', text(template)]
  ]
}
