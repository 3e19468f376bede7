import t from 'tap'
import { inspectModel, OutOfDeviceMemoryError } from '@daybreak/engine'
import type { AdapterReport, ModelInspection } from '@daybreak/engine'
import { inspectReport } from '../../apps/server/src/inspect/inspect-report.ts'
import type { InspectedModel } from '../../apps/server/src/inspect/inspect-report.ts'
import { printedReport } from '../../apps/server/src/inspect/printed-report.ts'
import type { TextFacts } from '../../apps/server/src/inspect/text-facts.ts'
import { inspectOptions } from '../engine/inspect/inspect-options.ts'
import { writeFamilyModel } from '../fixtures/families/read-family.ts'

const path = t.testdir()
writeFamilyModel('gemma3', path)
const inspection = await inspectModel(inspectOptions(path))
const text: TextFacts = {
  tokenizer: { model: 'Unigram', bytes: 'none', vocabSize: 1, specialTokens: 0, bos: null, eos: [] },
  chatTemplate: null
}

const printed = (changes: Partial<ModelInspection>, model: Partial<InspectedModel> = {}): string =>
  printedReport(inspectReport({ id: 'a-model', path: '/a-model', downloadBytes: null, kvCacheBytes: null, ...model }, { ...inspection, ...changes }, text))

function onAdapter (changes: { readonly f16: boolean, readonly subgroupMatrix: boolean, readonly software: boolean }): Pick<ModelInspection, 'adapter'> {
  const report: AdapterReport = {
    name: 'Some GPU', vendor: '', architecture: '', driver: '', backend: 'vulkan', software: changes.software, features: [], limits: {}, subgroupMinSize: 0, subgroupMaxSize: 0, subgroupMatrixConfigs: []
  }
  return { adapter: { report, capabilities: { subgroups: true, timestamps: false, maxBindingBytes: 1, maxWorkgroupThreads: 1, maxWorkgroupBytes: 1, ...changes } } }
}

t.test('what is special about a model has its place', async t => {
  const report = printed({ quantization: { method: 'compressed-tensors', packed: true, bits: 4, symmetric: true, strategy: 'group', groupSize: 32, actOrder: false, notes: ['something is not applied'] } })
  t.match(report, /^a-model \(\/a-model\)\n\n/)
  t.match(report, /^ {2}context {8}256 tokens \([\w-]+ scaling\); \d of \d layers see the last \d+ tokens$/m)
  t.match(report, /^ {2}quantised {6}compressed-tensors, 4 bits in groups of 32\n {2}note {11}something is not applied$/m)
  t.match(report, /^ {2}tokenizer {6}Unigram, 1 token\n {2}bos, eos {7}none, none\n {2}chat template {2}none: chats become a plain transcript$/m)
  t.match(printed({ quantization: { method: 'awq', groupSize: undefined } }), /^ {2}quantised {6}awq, 4 bits$/m)
  t.match(printed({}, { path: null, downloadBytes: 3 * 2 ** 30 }), /^a-model \(on the Hub, 3 GiB to download\)\n/)
})

t.test('the adapter is named with what it computes in, or what is assumed instead and why', async t => {
  t.match(printed(onAdapter({ f16: true, subgroupMatrix: true, software: false })), /^ {2}adapter {8}Some GPU: f16, tensor cores$/m)
  t.match(printed(onAdapter({ f16: true, subgroupMatrix: false, software: false })), /^ {2}adapter {8}Some GPU: f16$/m)
  t.match(printed(onAdapter({ f16: false, subgroupMatrix: false, software: false })), /^ {2}adapter {8}Some GPU: f32$/m)
  t.match(printed(onAdapter({ f16: true, subgroupMatrix: false, software: true })), /^ {2}adapter {8}Some GPU: software, on the CPU$/m)
  t.match(printed({}), /^ {2}adapter {8}not asked; one that computes in f16 is assumed$/m)
  t.match(printed({ adapterProblem: 'no GPU adapter was found' }), /^ {2}adapter {8}one that computes in f16 is assumed, since no GPU adapter was found$/m)
})

t.test('the verdict says where the memory is, and when the KV cache is shorter than the context', async t => {
  const { least } = inspection
  const gpu = onAdapter({ f16: true, subgroupMatrix: false, software: false })
  const host = printed({ ...gpu, fit: { type: 'fits', memory: { bytes: 5 << 20, source: 'host' }, use: { ...least, totalBytes: 3 << 20 } } })
  t.match(host, /\n\nfits: 1 sequence of 256 tokens on Some GPU, in 3 MiB of 5 MiB that this machine has free\n$/)
  const cut = printed({ fit: { type: 'fits', memory: { bytes: 5 << 20, source: 'stated' }, use: { ...least, totalBytes: 3 << 20, tokensEach: 80, kvTokens: 80 } } })
  t.match(cut, /\n\nfits: 1 sequence of 80 tokens \(the KV cache holds no more; the context is 256 tokens\), in 3 MiB of 5 MiB\n$/)
  const roomy = printed({ fit: { type: 'fits', memory: { bytes: 5 << 20, source: 'stated' }, use: { ...least, totalBytes: 3 << 20, kvTokens: 400 } } })
  t.match(roomy, /\n\nfits: 1 sequence of 256 tokens, or 400 tokens in shorter ones, in 3 MiB of 5 MiB\n$/)
})

t.test('a buffer that no binding holds is named, whatever memory there is', async t => {
  const obstacle = new OutOfDeviceMemoryError({ label: 'logits', bytes: 1 << 30 })
  for (const memory of [undefined, { bytes: 1e12, source: 'stated' }] as const) {
    t.ok(printed({ fit: { type: 'does-not-fit', memory, obstacle, longestContext: undefined } }).endsWith(`\n\ndoes not fit: ${obstacle.message}\n`))
  }
})
