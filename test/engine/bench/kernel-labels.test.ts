import t from 'tap'
import type { ForwardBatch, RunnerLimits } from '@daybreak/engine/contract'
import { decodeBatch, promptBatch, rowsBatch, sharingBatch } from '../../../packages/engine/src/bench/bench-batches.ts'
import { kernelWork } from '../../../packages/engine/src/bench/kernel-work.ts'
import { measureKernels } from '../../../packages/engine/src/bench/measure-kernels.ts'
import type { ModelConfig } from '../../../packages/engine/src/models/model-config.ts'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { aConfig } from '../models/a-config.ts'
import { openRecordingDecoder, softwareAdapter, tensorCores } from '../recording-decoder.ts'
import type { RecordingDecoder } from '../recording-decoder.ts'

/** Large enough for products in parts of K, and for heads that the projection turns. */
const sizes = { hidden_size: 384, intermediate_size: 1024, num_attention_heads: 6, head_dim: 64, max_position_embeddings: 4096 }

/** Norms before or behind or both, with and without those of queries and keys, windows and biases. */
const models = {
  llama: {},
  qwen2: {},
  qwen3: {},
  olmo2: {},
  gemma3: { sliding_window: 512, sliding_window_pattern: 2, query_pre_attn_scalar: 64, rope_local_base_freq: 10_000 }
} as const
const architectures: Readonly<Record<keyof typeof models, string>> = { llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM', olmo2: 'Olmo2ForCausalLM', gemma3: 'Gemma3ForCausalLM' }
const adapters = { 'tensor cores': tensorCores, 'a software adapter': softwareAdapter }

function aModel (name: keyof typeof models): ModelConfig {
  return parseModelConfig(aConfig(architectures[name], { ...sizes, ...models[name] }))
}

/** One, 8, 64 and 300 tokens as prompts and decodes, lone and sharing, of few keys and of many. */
function batches (limits: RunnerLimits): readonly ForwardBatch[] {
  return [
    ...[1, 8, 64, 300].flatMap(rows => [rowsBatch(rows, Math.min(rows, 64), limits), promptBatch(rows, 600, limits)]),
    ...[1, 8, 64].flatMap(count => [1, 40, 300, 600, 4000].map(context => decodeBatch(count, context, limits))),
    sharingBatch(8, 600, { keys: 512, degree: 4 }, limits),
    sharingBatch(64, 600, { keys: 512, degree: 16 }, limits)
  ]
}

/** Labels of a step whose work is not known. */
function unknown ({ record, plan: { storage, activation } }: RecordingDecoder, config: ModelConfig, batch: ForwardBatch): readonly string[] {
  const { shape, dispatches } = record(batch)
  const labels = new Set(dispatches.map(({ label }) => label))
  // How much it reads depends on the values.
  labels.delete('sample_choose')
  const step = { config, shape, attended: { keys: 600, pairs: 600 }, storage, activation, parts: { output: 1, down: 1 } }
  return [...labels].filter(label => !((kernelWork(label, step)?.bytes ?? 0) > 0))
}

for (const name of ['llama', 'qwen2', 'qwen3', 'olmo2', 'gemma3'] as const) {
  for (const [adapter, capabilities] of Object.entries(adapters)) {
    t.test(`the work of every dispatch of ${name} on ${adapter} is known`, async t => {
      const config = aModel(name)
      const decoder = await openRecordingDecoder(t, config, capabilities)
      t.equal(decoder.plan.attention.type, capabilities.subgroupMatrix ? 'matrix' : 'ordered')
      for (const batch of batches(decoder.limits)) t.strictSame(unknown(decoder, config, batch), [])
    })
  }
}

t.test('these steps have what tensor cores take the place of other dispatches with', async t => {
  const decoder = await openRecordingDecoder(t, aModel('llama'), tensorCores)
  const labels = new Set(batches(decoder.limits).flatMap(batch => decoder.record(batch).dispatches.map(({ label }) => label)))
  for (const label of ['qkv rotary', 'output merged', 'gate_up normed', 'head normed', 'attention_group', 'attention_merge', 'attention_norm summed', 'final_norm summed']) t.ok(labels.has(label), label)
})

t.test('no product of a layer is missing from the tables, whatever else its dispatch does', async t => {
  const config = aModel('llama')
  const { plan: { storage, activation }, limits, record } = await openRecordingDecoder(t, config, tensorCores)
  const kernels = await measureKernels({
    model: {
      limits,
      kvBytes: () => 1000,
      step: async ({ batch }) => {
        const { shape, dispatches } = record(batch)
        return { shape, labels: [...new Set(dispatches.map(({ label }) => label))], units: label => [dispatches.filter(dispatch => dispatch.label === label)], [Symbol.dispose]: () => {} }
      }
    },
    timer: { time: async () => ({ seconds: 2, minSeconds: 1, maxSeconds: 3 }) },
    plan: { shape: 'llama', kinds: ['linear', 'attention', 'rowwise'], rows: [1, 8, 64, 300], contexts: [600], batches: [1, 8], shared: { keys: 512, degree: 4 }, dtype: 'f16', deterministic: false, tuningFolder: undefined, tune: false, onProgress: () => {} },
    config,
    layers: config.layers.slice(0, 1),
    storage,
    activation,
    cacheBytes: 1000,
    mostCopies: 1
  })
  t.strictSame(kernels.filter(({ bytes, skipped }) => bytes === 0 && skipped === undefined).map(({ label }) => label), [])
  for (const rows of [1, 8, 64, 300]) {
    const products = kernels.filter(kernel => kernel.kind === 'linear' && kernel.rows === rows)
    t.strictSame(products.map(({ label }) => label.split(' ', 1)[0]), ['qkv', 'output', 'gate_up', 'down', 'head'], `${rows} rows`)
    t.ok(products.every(({ flops, skipped }) => flops > 0 || skipped !== undefined))
  }
  const lone = kernels.filter(kernel => kernel.kind === 'attention' && kernel.rows === 1)
  t.strictSame(lone.map(({ label }) => label), ['attention_split', 'output merged'])
  const down = (rows: number): number => kernels.find(kernel => kernel.label === 'down' && kernel.rows === rows)?.bytes ?? 0
  t.equal(down(64), 2 * 384 * 1024 + 64 * (2 * 1024 + 2 * 4 * 384), 'in two parts')
})
