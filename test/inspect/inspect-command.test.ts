import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { z } from 'zod'
import { registerInspectCommand } from '../../apps/server/src/inspect/inspect-command.ts'
import { runRecorded } from '../fakes/recorded-command.ts'
import type { RecordedCommand } from '../fakes/recorded-command.ts'
import { temporaryFolder } from '../models/temporary-folder.ts'
import { writeServableFamily, writeTinyGguf } from './inspected-models.ts'

const Adapter = z.object({
  adapter: z.object({ name: z.string(), software: z.boolean(), computesF16: z.boolean() }).nullable(),
  adapterProblem: z.string().nullable(),
  memory: z.object({ dtype: z.string() })
})
const Fit = z.object({
  fit: z.object({ verdict: z.string(), use: z.object({ sequences: z.number(), tokensEach: z.number() }).nullable(), longestContextThatFits: z.number().nullable() })
})

async function inspect (t: Test, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<RecordedCommand> {
  const command = runRecorded(['inspect', ...args], [registerInspectCommand], { DAYBREAK_CACHE_DIR: await temporaryFolder(t), ...env })
  await command.done
  return command
}

/** No GPU is opened, and one of so much memory assumed. */
const onAssumedGpu = (memory: string): string[] => ['--no-adapter', '--device-memory', memory]

t.test('a directory is reported in a few aligned lines, the verdict last', async t => {
  const { stdout, stderr, exitCode } = await inspect(t, ['daybreak-mini', ...onAssumedGpu('4GiB')])
  t.equal(stderr, '')
  t.equal(exitCode, undefined)
  t.match(stdout, /^daybreak-mini \(.*models\/daybreak-mini\)\n\n {2}architecture {3}LlamaForCausalLM, 13\.4M parameters\n/)
  t.match(stdout, /^ {2}stored as {6}F16 \(74 tensors, 25\.5 MiB\)$/m)
  t.match(stdout, /^ {2}bos, eos {7}<\|bos\|> \(1984\), <\|end\|> \(1989\)$/m)
  t.match(stdout, /^ {2}chat template {2}takes tools$/m)
  t.match(stdout, /^ {2}weights {8}25\.5 MiB in f16$/m)
  t.match(stdout, /^ {2}KV cache {7}3\.9 MiB per 1,000 tokens$/m)
  t.match(stdout, /\n\nfits: 64 sequences of 8,192 tokens, in 2\.1 GiB of 4 GiB\n$/)
})

t.test('a model whose context does not fit is told the longest that does', async t => {
  const folder = await temporaryFolder(t)
  await writeServableFamily('llama-llama3', folder)
  const config = join(folder, 'config.json')
  await writeFile(config, JSON.stringify({ ...z.looseObject({}).parse(JSON.parse(await readFile(config, 'utf8'))), max_position_embeddings: 1 << 22 }))
  const { stdout } = await inspect(t, [folder, ...onAssumedGpu('1GiB')])
  const longest = Number(/\n\ndoes not fit in 1 GiB: needs .* GiB for 1 sequence of 4,194,304 tokens; try --max-model-len (\d+)\n$/.exec(stdout)?.[1])
  t.ok(longest > 1 << 19, `${longest} tokens`)
  const fitOf = async (...more: readonly string[]): Promise<z.infer<typeof Fit>['fit']> =>
    Fit.parse(JSON.parse((await inspect(t, [folder, ...onAssumedGpu('1GiB'), ...more, '--json'])).stdout)).fit
  t.equal((await fitOf()).longestContextThatFits, longest)
  t.match(await fitOf('--max-model-len', String(longest)), { verdict: 'fits', use: { sequences: 1, tokensEach: longest } })
  t.match(await fitOf('--max-model-len', String(longest + 1)), { verdict: 'does-not-fit' })
})

t.test('each reason not to fit has its own advice', async t => {
  const weights = await inspect(t, ['daybreak-mini', ...onAssumedGpu('20MiB')])
  t.match(weights.stdout, /\ndoes not fit in 20 MiB: the weights alone take 25\.5 MiB\n$/)
  const workspace = await inspect(t, ['daybreak-mini', ...onAssumedGpu('40MiB')])
  t.match(workspace.stdout, /\ndoes not fit in 40 MiB: needs .*; try a smaller --max-num-seqs or --max-num-batched-tokens\n$/)
  const cache = await inspect(t, ['daybreak-mini', ...onAssumedGpu('1GiB'), '--kv-cache-memory', '1GiB'])
  t.match(cache.stdout, /\ndoes not fit in 1 GiB: needs .*; try a smaller --kv-cache-memory\n$/)
  const unknown = await inspect(t, ['daybreak-mini', '--no-adapter'])
  t.match(unknown.stdout, /\nneeds 94\.5 MiB for 1 sequence of 8,192 tokens; --device-memory SIZE says whether that fits/)
})

t.test('a mixture of experts tells what of it is active', async t => {
  const folder = await temporaryFolder(t)
  await writeServableFamily('mixtral', folder)
  const { stdout } = await inspect(t, [folder, ...onAssumedGpu('1GiB')])
  t.match(stdout, /^ {2}architecture {3}MixtralForCausalLM, [\d.]+K parameters, [\d.]+K of them active$/m)
  t.match(stdout, /^ {2}experts {8}\d of \d a token, in (\d) of \1 layers$/m)
  t.match(stdout, /\nfits: /)
})

for (const numParts of [1, 2] as const) {
  t.test(`a GGUF file in ${numParts} parts is inspected by its header`, async t => {
    const path = await writeTinyGguf(await temporaryFolder(t), numParts)
    const { stdout, stderr } = await inspect(t, [path, ...onAssumedGpu('1GiB')])
    t.equal(stderr, '')
    t.match(stdout, /^ {2}architecture {3}Qwen2ForCausalLM, /m)
    t.match(stdout, /^ {2}stored as {6}F32 \(27 tensors, /m)
    t.match(stdout, /^ {2}tokenizer {6}BPE, byte-level, 24 tokens$/m)
    t.match(stdout, /^ {2}bos, eos {7}b \(1\), c \(2\)$/m)
    t.match(stdout, /^ {2}chat template {2}none: chats become a plain transcript$/m)
  })
}

t.test('the keys of --json stay, and what does not apply is null', async t => {
  const dense: unknown = JSON.parse((await inspect(t, ['daybreak-mini', '--no-adapter', '--json'])).stdout)
  t.strictSame(keysOf(dense), [
    'id', 'path', 'downloadBytes',
    'architecture.name', 'architecture.parameters', 'architecture.activeParameters', 'architecture.layers', 'architecture.hiddenSize', 'architecture.intermediateSize',
    'architecture.attentionHeads', 'architecture.kvHeads', 'architecture.headSize', 'architecture.vocabSize', 'architecture.tiedEmbeddings', 'architecture.contextLength',
    'architecture.slidingWindow', 'architecture.ropeScaling', 'architecture.experts',
    'weights.formats[].format', 'weights.formats[].tensors', 'weights.formats[].bytes', 'weights.quantization',
    'tokenizer.model', 'tokenizer.bytes', 'tokenizer.vocabSize', 'tokenizer.specialTokens', 'tokenizer.bos.id', 'tokenizer.bos.text', 'tokenizer.eos[].id', 'tokenizer.eos[].text',
    'chatTemplate.names[]', 'chatTemplate.takesTools',
    'adapter', 'adapterProblem',
    'memory.dtype', 'memory.maxModelLen', 'memory.maxNumSeqs', 'memory.maxNumBatchedTokens', 'memory.kvCacheMemory', 'memory.weightBytes', 'memory.workingBytes', 'memory.kvBytesPer1000Tokens',
    ...['least', 'most'].flatMap(use => ['sequences', 'tokensEach', 'kvTokens', 'kvBytes', 'totalBytes'].map(key => `memory.${use}.${key}`)),
    'fit.verdict', 'fit.deviceBytes', 'fit.deviceBytesFrom', 'fit.use', 'fit.problem', 'fit.longestContextThatFits'
  ])
  const folder = await temporaryFolder(t)
  await writeServableFamily('gemma3', folder)
  t.match(JSON.parse((await inspect(t, [folder, ...onAssumedGpu('1GiB'), '--json'])).stdout), {
    id: /^daybreak-models-/,
    path: folder,
    downloadBytes: null,
    architecture: { slidingWindow: { layers: Number, tokens: Number }, experts: null },
    fit: { verdict: 'fits', deviceBytes: 2 ** 30, deviceBytesFrom: 'stated', use: { sequences: Number } }
  })
})

t.test('what serving would refuse is refused in the same words, with exit code 1', async t => {
  const folder = await temporaryFolder(t)
  await writeServableFamily('llama-llama3', folder)
  await writeFile(join(folder, 'config.json'), JSON.stringify({ architectures: ['MambaForCausalLM'] }))
  const unknown = await inspect(t, [folder, '--no-adapter'])
  t.equal(unknown.exitCode, 1)
  t.match(unknown.stderr, /^daybreak: this model needs .*"MambaForCausalLM".*not supported; supported: .*LlamaForCausalLM.*\n$/)
  t.equal(unknown.stdout, '')

  const missing = await inspect(t, ['no-such-model', '--no-adapter'])
  t.equal(missing.exitCode, 1)
  t.match(missing.stderr, /^daybreak: model "no-such-model": there is no directory /)
})

t.test('the adapter is opened and named, unless there is none of the name that is asked for', async t => {
  const folder = await temporaryFolder(t)
  await writeServableFamily('llama-llama3', folder)
  const { adapter, adapterProblem, memory } = Adapter.parse(JSON.parse((await inspect(t, [folder, '--json'])).stdout))
  if (adapter === null) {
    t.not(process.env['CI'], 'true', 'in CI there has to be an adapter')
    t.match(adapterProblem, /^no GPU adapter was found/)
  } else {
    t.equal(memory.dtype, adapter.computesF16 && !adapter.software ? 'f16' : 'f32')
  }
  const other = await inspect(t, [folder, '--adapter', 'none of this name'])
  t.equal(other.exitCode, 1)
  t.match(other.stderr, /^daybreak: no GPU adapter has "none of this name" in its name\n$/)
})

t.test('settings come from variables too, and wrong ones have exit code 2', async t => {
  const { stdout } = await inspect(t, ['daybreak-mini', '--no-adapter'], { DAYBREAK_MAX_MODEL_LEN: '1024', DAYBREAK_DEVICE_MEMORY: '1GiB', DAYBREAK_ADAPTER: 'none of this name' })
  t.match(stdout, /\nfits: 64 sequences of 1,024 tokens, in .* of 1 GiB\n$/)
  const wrong = await inspect(t, ['daybreak-mini', '--device-memory', 'much'])
  t.equal(wrong.exitCode, 2)
  t.match(wrong.stderr, /^daybreak: --device-memory: "much" is not allowed; it takes a size such as 24GiB\n$/)
  t.equal((await inspect(t, [])).exitCode, 2)
})

t.test('the help says what is fetched', async t => {
  const command = await inspect(t, ['--help'])
  t.equal(command.exitCode, 0)
  for (const flag of ['--json', '--dtype', '--max-model-len', '--max-num-seqs', '--kv-cache-memory', '--adapter', '--no-adapter', '--device-memory']) t.match(command.stdout, ` ${flag} `)
  t.match(command.stdout.replaceAll(/\s+/g, ' '), 'only its small files and the headers of its weights are fetched; a GGUF model has to be downloaded first')
})

t.test('nothing but the text of a GGUF vocabulary stays in the cache', async t => {
  const cache = await temporaryFolder(t)
  const path = await writeTinyGguf(await temporaryFolder(t), 1)
  await inspect(t, [path, '--no-adapter'], { DAYBREAK_CACHE_DIR: cache })
  t.strictSame(await readdir(cache), ['gguf-text'])
})

/** Paths of all values, with those of an array's entries once. */
function keysOf (value: unknown): string[] {
  if (Array.isArray(value)) return [...new Set(value.flatMap(keysOf))].map(key => key === '' || key.startsWith('[]') ? `[]${key}` : `[].${key}`)
  if (typeof value !== 'object' || value === null) return ['']
  return Object.entries(value).flatMap(([name, inner]) => keysOf(inner).map(key => key === '' || key.startsWith('[]') ? `${name}${key}` : `${name}.${key}`))
}
