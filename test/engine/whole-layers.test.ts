import t from 'tap'
import { namedShape } from '@daybreak/engine'
import type { ForwardBatch } from '@daybreak/engine/contract'
import { decodeBatch, promptBatch, sharingBatch } from '../../packages/engine/src/bench/bench-batches.ts'
import { parseModelConfig } from '../../packages/engine/src/models/parse-model-config.ts'
import { aConfig } from './models/a-config.ts'
import { openRecordingDecoder, softwareAdapter, tensorCores } from './recording-decoder.ts'

const choice = [{ rows: 1, workgroups: 128, teams: 32, ahead: 4, mostKeys: 2048 }]
const several = [...choice, { rows: 2, workgroups: 128, teams: 32, ahead: 4, mostKeys: 1024 }, { rows: 8, workgroups: 128, teams: 32, ahead: 2, mostKeys: 640 }]

function labelsOf (step: { readonly dispatches: ReadonlyArray<{ readonly label: string }> }): string[] {
  return step.dispatches.map(({ label }) => label)
}

t.test('a lone token takes one dispatch a layer', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores, choice)
  const labels = labelsOf(record(decodeBatch(1, 600, limits)))
  t.equal(labels.filter(label => label === 'whole layer').length, 16)
  t.strictSame([...new Set(labels)], ['embedding', 'whole layer', 'head normed', 'sample_scan', 'sample_choose'])
  t.ok(labels.length <= 20, 'and a step few more')
})

t.test('what is no lone token, or has more keys than were faster, is computed as ever', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores, choice)
  const { record: apart } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores)
  const cases: ReadonlyArray<readonly [string, ForwardBatch]> = [
    ['two tokens', decodeBatch(2, 600, limits)],
    ['two that share a prefix', sharingBatch(2, 600, { keys: 512, degree: 2 }, limits)],
    ['a prompt', promptBatch(40, 40, limits)],
    ['a context beyond the longest', decodeBatch(1, 2049, limits)],
    ['a long context', decodeBatch(1, 4000, limits)]
  ]
  for (const [name, batch] of cases) t.strictSame(labelsOf(record(batch)), labelsOf(apart(batch)), name)
  for (const context of [1, 31, 32, 33, 1024, 1025, 2047, 2048]) t.ok(labelsOf(record(decodeBatch(1, context, limits))).includes('whole layer'), `${context} keys are not too many`)
})

t.test('so do single tokens of a few sequences, as far as that was faster for as many', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores, several)
  const { record: apart } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores)
  const isWhole = (batch: ForwardBatch): boolean => labelsOf(record(batch)).includes('whole layer')
  for (const [count, keys] of [[1, 2048], [2, 1024], [3, 640], [8, 640]] as const) t.ok(isWhole(decodeBatch(count, keys, limits)), `${count} with ${keys} keys`)
  const cases: ReadonlyArray<readonly [string, ForwardBatch]> = [
    ['two with more keys', decodeBatch(2, 1025, limits)],
    ['eight with more keys', decodeBatch(8, 641, limits)],
    ['nine', decodeBatch(9, 100, limits)],
    ['four that share a prefix', sharingBatch(4, 600, { keys: 512, degree: 4 }, limits)],
    ['a prompt of eight tokens', promptBatch(8, 8, limits)]
  ]
  for (const [name, batch] of cases) t.strictSame(labelsOf(record(batch)), labelsOf(apart(batch)), name)
  const { dispatches } = record(decodeBatch(8, 600, limits))
  t.notOk(labelsOf({ dispatches }).some(label => label.endsWith('summed')), 'the final norm looks for no sums in parts, which whole layers do not leave')
  const rows = ({ dispatches }: { readonly dispatches: ReadonlyArray<{ readonly pipeline: GPUComputePipeline }> }): string | undefined =>
    dispatches.flatMap(({ pipeline }) => /whole_layer_.*_(r\d+)/.exec(pipeline.label)?.[1] ?? [])[0]
  t.strictSame([1, 2, 3, 8].map(count => rows(record(decodeBatch(count, 600, limits)))), ['r1', 'r2', 'r8', 'r8'])
})

t.test('where fewer rows were slower whole they are not computed by a kernel of more', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores, several.map(one => one.rows === 1 ? { ...one, mostKeys: 0 } : one))
  t.strictSame([1, 2, 3].map(count => labelsOf(record(decodeBatch(count, 600, limits))).includes('whole layer')), [false, true, true])
})

t.test('without matrices for eight rows two sequences still have whole layers', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), { ...tensorCores, narrowMatrix: false }, several)
  t.strictSame([1, 2, 3].map(count => labelsOf(record(decodeBatch(count, 600, limits))).includes('whole layer')), [true, true, false])
})

t.test('models with norms of queries and keys have whole layers, too', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('qwen3-0.6b'), tensorCores, choice)
  t.equal(labelsOf(record(decodeBatch(1, 600, limits))).filter(label => label === 'whole layer').length, 28)
})

for (const [name, config, adapter] of [
  ['other norms and another activation', namedShape('gemma-3-1b'), tensorCores],
  ['experts', namedShape('qwen3-30b-a3b'), tensorCores],
  ['norms of whole projections', parseModelConfig(aConfig('Olmo2ForCausalLM', { hidden_size: 2048, intermediate_size: 8192, num_attention_heads: 32, head_dim: 64, max_position_embeddings: 4096 })), tensorCores],
  ['fewer columns than workgroups', namedShape('daybreak-mini'), tensorCores],
  ['an adapter without tiled weights', namedShape('llama-3.2-1b'), softwareAdapter]
] as const) {
  t.test(`${name}: no layer is computed whole`, async t => {
    const { record, limits } = await openRecordingDecoder(t, config, adapter, choice)
    t.notOk(labelsOf(record(decodeBatch(1, 600, limits))).includes('whole layer'))
  })
}
