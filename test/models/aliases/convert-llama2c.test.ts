import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { convertLlama2c } from '../../../apps/server/src/models/aliases/convert-llama2c.ts'
import { readLlama2cTokenizer } from '../../../apps/server/src/models/aliases/llama2c-tokenizer.ts'
import { verifyModelFiles } from '../../../apps/server/src/models/verify-model-files.ts'
import { openTextService } from '../../../apps/server/src/text/index.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { ReferenceLlama2cTokenizer } from '../../reference/llama2c-tokenizer.ts'
import { ReferenceLlama2c } from '../../reference/llama2c.ts'
import { ReferenceLlama } from '../../reference/llama.ts'
import { readLlamaModel } from '../../reference/read-model.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { randomSpmText } from './random-spm-text.ts'
import { TIED, tinyCheckpoint, tinyTokenizer, tokenizerEntry, UNTIED } from './tiny-llama2c.ts'

const SEED = 2023
t.comment(`seed ${SEED}`)

async function converted (t: Test, checkpoint: Uint8Array, tokenizer: Uint8Array, checkpointBytes = checkpoint.length) {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'model.bin')
  await writeFile(file, Buffer.concat([checkpoint, tokenizer]))
  const directory = join(folder, 'converted')
  await mkdir(directory)
  await convertLlama2c({ file, checkpointBytes }, directory)
  return directory
}

for (const [what, shape] of [['a tied head', TIED], ['grouped KV heads and a head of its own', UNTIED]] as const) {
  t.test(`a converted checkpoint with ${what} has llama2.c's logits at every position`, async t => {
    const checkpoint = tinyCheckpoint(shape, SEED)
    const directory = await converted(t, checkpoint, tinyTokenizer(shape.vocabSize, '<0xNN>'))
    const random = new SeededRandom(SEED)
    const tokens = Array.from({ length: shape.seqLen }, () => random.integer(shape.vocabSize))
    const original = new ReferenceLlama2c(checkpoint)
    const expected = tokens.flatMap((token, position) => [...original.forward(token, position)])
    const model = new ReferenceLlama(readLlamaModel(directory))
    const found = model.logits(model.forward(model.newCache(), tokens))
    t.equal(found.length, expected.length)
    const spread = Math.max(...expected) - Math.min(...expected)
    const difference = Math.max(...expected.map((logit, i) => Math.abs(logit - (found[i] ?? NaN))))
    t.ok(spread > 1, `logits that differ among themselves: ${spread}`)
    // Both compute in float64; only the order of the sums differs.
    t.ok(difference < 1e-6, `largest difference ${difference}`)
  })
}

t.test('the converted model says what it is and every file has its hash', async t => {
  const directory = await converted(t, tinyCheckpoint(UNTIED, SEED), tinyTokenizer(300, 'character'))
  t.equal(await verifyModelFiles(directory, { complete: true }), 5)
  const read = async (name: string): Promise<unknown> => JSON.parse(await readFile(join(directory, name), 'utf8'))
  t.match(await read('config.json'), {
    architectures: ['LlamaForCausalLM'], hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, vocab_size: 300, max_position_embeddings: 24, tie_word_embeddings: false
  })
  t.match(await read('generation_config.json'), { eos_token_id: [1, 2] }, 'a text ends with BOS or with EOS')
})

for (const spelling of ['character', '<0xNN>'] as const) {
  t.test(`texts become llama2.c's token ids, and texts again, with bytes written as ${spelling}`, async t => {
    const tokenizerBytes = tinyTokenizer(300, spelling)
    const directory = await converted(t, tinyCheckpoint(TIED, SEED), tokenizerBytes)
    const text = await openTextService(directory)
    t.teardown(async () => { await text.close() })
    const reference = new ReferenceLlama2cTokenizer(tokenizerBytes, 300)
    const random = new SeededRandom(SEED)
    const fixed = ['', ' ', 'the line', ' the', 'aaaaaaa', 'banana', 'é', 'née', '東京', '東', 'x\ny', '\u0000', 'A', '<0x41>', '🙂', 'unused 3']
    for (const sample of [...fixed, ...Array.from({ length: 400 }, () => randomSpmText(random))]) {
      const ids = await text.encode(sample, { addSpecialTokens: true, parseSpecialTokens: false })
      t.strictSame(ids, reference.encode(sample), JSON.stringify(sample))
      t.equal(text.decode(ids, { skipSpecialTokens: true }), sample)
    }
  })
}

t.test('a damaged checkpoint is refused with its reason', async t => {
  const checkpoint = tinyCheckpoint(TIED, SEED)
  const tokenizer = tinyTokenizer(300, '<0xNN>')
  const refused = async (bytes: Uint8Array, problem: RegExp): Promise<void> => {
    await t.rejects(converted(t, bytes, tokenizer), { name: 'DamagedCheckpointError', code: 'CHECKPOINT_DAMAGED', details: { problem } }, String(problem))
  }
  const withField = (field: number, value: number): Buffer => {
    const bytes = Buffer.from(checkpoint)
    bytes.writeInt32LE(value, 4 * field)
    return bytes
  }
  await refused(checkpoint.subarray(0, 0), /has 0 bytes where its header alone takes 28/)
  await refused(checkpoint.subarray(0, 27), /has 27 bytes/)
  await refused(checkpoint.subarray(0, 28), /has 28 bytes where its header implies \d+/)
  await refused(checkpoint.subarray(0, -1), /where its header implies/)
  await refused(Buffer.concat([checkpoint, Buffer.alloc(4)]), /where its header implies/)
  for (let field = 0; field < 7; field++) {
    for (const value of [0, -1, 1, 2 ** 31 - 1, -(2 ** 31)]) {
      // A negative vocabulary is how a head of its own is told, which makes the file too short.
      await refused(withField(field, value), /header (gives|implies)/)
    }
  }
  await refused(withField(3, 5), /5 heads over 4 KV heads in a width of 32/)
  await refused(withField(4, 3), /4 heads over 3 KV heads/)
  await t.rejects(converted(t, checkpoint, Buffer.alloc(0), checkpoint.length + 1), { code: 'CHECKPOINT_DAMAGED', details: { problem: /where the checkpoint alone takes/ } })
})

t.test('a tokenizer that is cut anywhere, goes on, or holds nonsense is refused with its reason', async t => {
  const bytes = tinyTokenizer(300, 'character')
  const read = (tokenizer: Uint8Array, vocabSize = 300) => () => readLlama2cTokenizer(tokenizer, vocabSize, 'tokenizer.bin')
  t.equal(read(bytes)().length, 300)
  for (let length = 0; length < bytes.length; length++) {
    const problem = refusal(read(bytes.subarray(0, length)))
    if (!/ends at byte|has \d+ bytes/.test(problem)) t.fail(`${length} bytes: ${problem}`)
  }
  t.match(refusal(read(bytes, 299)), /goes on for \d+ bytes/)
  t.match(refusal(read(bytes, 301)), /ends at byte \d+, in token 300 of 301/)
  t.match(refusal(read(bytes, 258)), /fewer than the special ones and the bytes take/)
  const start = Buffer.concat([Buffer.alloc(4), tokenizerEntry('<unk>', 0)])
  t.match(refusal(read(Buffer.concat([start, tokenizerEntry('<s>', 0, -1)]))), /token 1, at byte 25, has -1 bytes/)
  t.match(refusal(read(Buffer.concat([start, tokenizerEntry('<s>', 0, 4)]))), /has 4 bytes/)
  t.match(refusal(read(Buffer.concat([start, tokenizerEntry('<s>', NaN)]))), /score NaN/)
  t.match(refusal(read(Buffer.concat([start, tokenizerEntry(Uint8Array.of(0xff), 0)]))), /no UTF-8 in token 1/)
  t.match(refusal(read(Buffer.concat([start, tokenizerEntry('bos', 0)]))), /"bos" as token 1/)
})

function refusal (act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'CHECKPOINT_DAMAGED') return error.message
    throw error
  }
  return 'nothing was refused'
}
