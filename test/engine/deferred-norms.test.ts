import t from 'tap'
import { MODEL_SHAPE_NAMES, namedShape } from '@daybreak/engine'
import { decodeBatch, promptBatch } from '../../packages/engine/src/bench/bench-batches.ts'
import { deferredRows } from '../../packages/engine/src/kernels/matmul/deferred-norm.ts'
import { openRecordingDecoder, softwareAdapter, tensorCores } from './recording-decoder.ts'
import type { RecordedStep } from './recording-decoder.ts'

const labelsOf = ({ dispatches }: Pick<RecordedStep, 'dispatches'>): string[] => dispatches.map(({ label }) => label)
const isDeferred = (label: string): boolean => /(before|behind) norm$/.test(label)
/** On both sides of every range of rows that has kernels of its own. */
const COUNTS = [1, 2, 4, 5, 8, 16, 17, 32, 33, 64, 65, deferredRows, deferredRows + 1, 256]

t.test('a layer of eight tokens is five dispatches, of which none is a norm', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores)
  const labels = labelsOf(record(decodeBatch(8, 600, limits)))
  const layer = ['qkv rotary behind norm', 'attention_split', 'output before norm', 'gate_up behind norm', 'down before norm']
  t.strictSame(labels.slice(0, 2), ['embedding normed', 'qkv rotary'], 'the first is made with the embedding')
  t.strictSame(labels.slice(6, 11), layer)
  t.strictSame(labels.filter(label => label === 'down'), ['down'], 'the last product is followed by the final norm')
  t.equal(labels.length, 1 + 5 * 16 + 4)
})

t.test('whatever is left before a norm is taken up behind it, and nothing else is taken up, in every model and for every number of tokens', async t => {
  for (const name of MODEL_SHAPE_NAMES) {
    const { record, limits } = await openRecordingDecoder(t, namedShape(name), tensorCores)
    for (const count of COUNTS) {
      const labels = labelsOf(record(promptBatch(count, count, limits)))
      // What reads or writes the residual stream, or what is left of it.
      const stream = labels.filter(label => /^(qkv|output|gate_up|down|head|.*_norm|.*_norm summed)\b/.test(label) && !/^qk_norm/.test(label))
      const broken = stream.findIndex((label, i) => label.endsWith('behind norm') !== (stream[i - 1]?.endsWith('before norm') ?? false))
      t.equal(broken, -1, `${name}, ${count} tokens: ${stream[broken - 1] ?? 'all'} ${stream[broken] ?? 'fit'}`)
      if (count === 1 || count > deferredRows) t.notOk(labels.some(isDeferred), `${name}: ${count} tokens have norms`)
    }
  }
})

t.test('a norm that is deferred finds the scale that rows had at the norm before, of the same step', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), tensorCores)
  for (const count of COUNTS) {
    const labels = labelsOf(record(promptBatch(count, count, limits)))
    const whichOf = (label: string): number | undefined => /^(embedding normed|attention_norm|qkv.* behind norm)/.test(label) ? 0 : /^(mlp_norm|gate_up behind norm)/.test(label) ? 1 : undefined
    const norms = labels.flatMap(label => whichOf(label) ?? [])
    t.ok(count === 1 || norms.every((which, i) => which === i % 2), `${count} tokens: attention's and MLP's take turns`)
  }
})

t.test('adapters without tensor cores have all norms', async t => {
  const { record, limits } = await openRecordingDecoder(t, namedShape('llama-3.2-1b'), softwareAdapter)
  for (const count of COUNTS) t.notOk(labelsOf(record(promptBatch(count, count, limits))).some(isDeferred), `${count} tokens`)
})
