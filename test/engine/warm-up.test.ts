import t from 'tap'
import { namedShape } from '@daybreak/engine'
import type { ModelConfig } from '@daybreak/engine'
import type { ForwardBatch, ModelRunner, RunnerLimits, StepResult } from '@daybreak/engine/contract'
import { decodeBatch, promptBatch, rowsBatch } from '../../packages/engine/src/bench/bench-batches.ts'
import { greedySampling } from '../../packages/engine/src/greedy-sampling.ts'
import { parseModelConfig } from '../../packages/engine/src/models/parse-model-config.ts'
import { warmUp } from '../../packages/engine/src/warm-up.ts'
import { aConfig } from './models/a-config.ts'
import { openRecordingDecoder, softwareAdapter, tensorCores } from './recording-decoder.ts'
import type { RecordedStep, RecordingDecoder } from './recording-decoder.ts'

class BatchKeeper implements ModelRunner {
  readonly limits: RunnerLimits
  readonly batches: ForwardBatch[] = []

  constructor (limits: RunnerLimits) {
    this.limits = limits
  }

  async execute (batch: ForwardBatch): Promise<StepResult> {
    this.batches.push(batch)
    return { sampled: [], scored: new Map(), deviceSeconds: 0, hostSeconds: 0 }
  }

  async [Symbol.asyncDispose] (): Promise<void> {}
}

const adapters = { 'tensor cores': tensorCores, 'a software adapter': softwareAdapter }
/** Heads of which attention on tensor cores takes 32 keys at a time, 16 or none, windows, products with and without parts, experts, and no norms to fuse. */
const models = [
  ['daybreak-mini', namedShape('daybreak-mini')],
  ['llama-3.1-8b', namedShape('llama-3.1-8b')],
  ['qwen3-0.6b', namedShape('qwen3-0.6b')],
  ['gemma-3-1b', namedShape('gemma-3-1b')],
  ['qwen3-30b-a3b', namedShape('qwen3-30b-a3b')],
  ['an olmo2', parseModelConfig(aConfig('Olmo2ForCausalLM', { hidden_size: 384, intermediate_size: 1024, num_attention_heads: 6, head_dim: 64, max_position_embeddings: 4096 }))]
] as const

/** Layers of the first kinds are as good as all. */
function anyLayers (config: ModelConfig): ModelConfig {
  return { ...config, layers: config.layers.slice(0, 6) }
}

async function warmUpBatches ({ plan }: Pick<RecordingDecoder, 'plan'>, limits: RunnerLimits): Promise<readonly ForwardBatch[]> {
  const runner = new BatchKeeper(limits)
  await warmUp(runner, plan, [], () => {})
  return runner.batches
}

const pipelines = (steps: readonly RecordedStep[]): Set<GPUComputePipeline> => new Set(steps.flatMap(({ dispatches }) => dispatches.map(({ pipeline }) => pipeline)))

/** What a first user may begin with: a prompt whose last token is sampled, or whose tokens are scored, and a decode at contexts on both sides of all that is cut. */
function firstSteps (limits: RunnerLimits): readonly ForwardBatch[] {
  const rows = Array.from({ length: 256 }, (_, i) => i + 1)
  const prompts = rows.map(count => promptBatch(count, count, limits))
  return [
    ...prompts.map(batch => ({ ...batch, sequences: batch.sequences.map(sequence => ({ ...sequence, sampling: greedySampling })) })),
    ...rows.filter(count => count <= limits.maxLogitRows).map(count => rowsBatch(count, count, limits)),
    ...Array.from({ length: limits.maxModelLen / 8 }, (_, i) => decodeBatch(1, 8 * i + 1, limits))
  ]
}

for (const [name, config] of models) {
  for (const [adapter, capabilities] of Object.entries(adapters)) {
    t.test(`a lone sequence dispatches nothing that warm-up has not: ${name} on ${adapter}`, async t => {
      const decoder = await openRecordingDecoder(t, anyLayers(config), capabilities)
      const warm = pipelines((await warmUpBatches(decoder, decoder.limits)).map(decoder.record))
      const cold = [...pipelines(firstSteps(decoder.limits).map(decoder.record))].filter(pipeline => !warm.has(pipeline))
      t.strictSame(cold.map(({ label }) => label), [])
    })
  }
}

t.test('row counts on both sides of every matrix kernel run in order, with as many rows of logits while there is room', async t => {
  const decoder = await openRecordingDecoder(t, anyLayers(models[0][1]), softwareAdapter)
  const runner = new BatchKeeper({ ...decoder.limits, maxLogitRows: 96 })
  const progress: string[] = []
  await warmUp(runner, decoder.plan, [], (done, total) => { progress.push(`${done}/${total}`) })
  t.same(runner.batches.map(({ sequences }) => sequences[0]?.tokens?.length), [1, 2, 3, 5, 9, 17, 33, 65, 129])
  t.same(runner.batches.map(({ sequences }) => sequences[0]?.scoreTargets?.length ?? 0), [0, 1, 2, 4, 8, 16, 32, 64, 95])
  t.same(runner.batches.map(({ step }) => step), [0, 1, 2, 3, 4, 5, 6, 7, 8])
  t.equal(progress.at(-1), '9/9')
})

t.test('on tensor cores a lone token is also decoded where its attention is cut otherwise', async t => {
  const decoder = await openRecordingDecoder(t, anyLayers(models[0][1]), tensorCores)
  const steps = (await warmUpBatches(decoder, decoder.limits)).map(decoder.record)
  const lone = steps.filter(({ shape: { tokens } }) => tokens === 1)
  t.ok(lone.length <= 8, 'by a handful of steps')
  const labels = lone.map(({ dispatches }) => dispatches.map(({ label }) => label))
  t.ok(labels.some(step => step.includes('output merged')))
  t.ok(labels.some(step => step.includes('attention_merge')))
  t.ok(labels.every(step => step.includes('head normed')))
})

t.test('sequences whose steps have kernels of their own decode together once, as far as there is room', async t => {
  const grid = { workgroups: 128, teams: 32, ahead: 4, mostKeys: 4096 }
  const { record, plan, limits } = await openRecordingDecoder(t, anyLayers(namedShape('llama-3.2-1b')), tensorCores, [{ rows: 1, ...grid }, { rows: 2, ...grid }, { rows: 8, ...grid, ahead: 2 }])
  const warmed = async (changed: Partial<RunnerLimits>): Promise<readonly ForwardBatch[]> => {
    const runner = new BatchKeeper({ ...limits, ...changed })
    await warmUp(runner, plan, [1, 2, 8], () => {})
    return runner.batches
  }
  const counts = async (changed: Partial<RunnerLimits>): Promise<number> => Math.max(...(await warmed(changed)).map(({ sequences }) => sequences.length))
  const all = await warmed({})
  t.strictSame(all.map(({ step }) => step), all.map((_, step) => step))
  const warm = pipelines(all.map(record))
  const cold = [1, 2, 5, 8].flatMap(count => [...pipelines([record(decodeBatch(count, 600, limits))])]).filter(pipeline => !warm.has(pipeline))
  t.strictSame(cold.map(({ label }) => label), [])
  t.strictSame([await counts({ maxSequences: 7 }), await counts({ maxBatchedTokens: 1 }), await counts({ numKVBlocks: 8 })], [7, 1, 8])
})

t.test('an engine with tiny limits is kept within them', async t => {
  for (const [, capabilities] of Object.entries(adapters)) {
    const decoder = await openRecordingDecoder(t, anyLayers(models[0][1]), capabilities)
    for (const tiny of [{ maxLogitRows: 2 }, { maxLogitRows: 1 }, { maxBatchedTokens: 1 }, { maxModelLen: 2, numKVBlocks: 1 }, { numKVBlocks: 3, blockSize: 8, maxModelLen: 24 }]) {
      const limits = { ...decoder.limits, ...tiny }
      const batches = await warmUpBatches(decoder, limits)
      t.ok(batches.length > 0)
      for (const { tokens = [], startPosition, blockTable, scoreTargets = [] } of batches.flatMap(({ sequences }) => sequences)) {
        t.ok(tokens.length > 0 && tokens.length <= limits.maxBatchedTokens)
        t.ok(startPosition + tokens.length <= Math.min(limits.maxModelLen, blockTable.length * limits.blockSize))
        t.ok(scoreTargets.length + 1 <= limits.maxLogitRows && scoreTargets.length <= tokens.length)
        t.ok(blockTable.every(block => block < limits.numKVBlocks))
      }
    }
  }
})
