import type { SamplingParams, TokenHistory } from '@daybreak/engine/contract'
import { CommandList } from '../../../packages/engine/src/kernels/command-list.ts'
import { sampleChoose, sampleParts, sampleScan } from '../../../packages/engine/src/kernels/sample-kernels.ts'
import { Sampler } from '../../../packages/engine/src/layers/sampler.ts'
import type { GpuHarness } from './gpu-harness.ts'
import { plainLogitRow } from './step-records.ts'
import type { LogitRecord } from './step-records.ts'

export const untouched = 77_777
const RESULT_WORDS = 4 + 2 * 20
/** The engine's threads on software adapters. */
const THREADS = 32
/** A part and a list so short that vocabularies of hundreds have several parts and overflow lists. */
const SMALL_PART = 64
const SMALL_LIST = 128

export interface Row { readonly logits: Float64Array, readonly record: Partial<LogitRecord> }
export interface Result { readonly token: number, readonly logprob: number, readonly top: ReadonlyArray<{ readonly token: number, readonly logprob: number }> }
export interface Sampled { readonly results: readonly Result[], readonly sampled: Float64Array, readonly counts: Uint32Array }

export const greedy: SamplingParams = {
  temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1, logitBias: [], numLogprobs: undefined
}
export const noHistory: TokenHistory = { promptTokens: [], outputTokens: [] }

export interface SampleOptions {
  readonly counts?: ReadonlyArray<ArrayLike<number>>
  /** As the engine samples on this adapter: larger parts, and more threads where it is none of software. */
  readonly asEngine?: boolean
  /** Of a workgroup, where they are not the engine's. A list is at least as long. */
  readonly threads?: number
}

/** Both dispatches over all rows; row i owns state row i unless its record says otherwise. */
export async function sampleRows (gpu: GpuHarness, vocab: number, rows: readonly Row[], { counts: countRows = [], asEngine = false, threads = THREADS }: SampleOptions = {}): Promise<Sampled> {
  const logitRows = rows.map(({ record }, stateRow): LogitRecord => ({ ...plainLogitRow, stateRow, ...record }))
  const allLogits = new Float32Array(rows.length * vocab)
  rows.forEach(({ logits }, row) => allLogits.set(logits, row * vocab))
  const allCounts = new Uint32Array(rows.length * vocab)
  countRows.forEach((counts, row) => allCounts.set(counts, row * vocab))
  const { PART, PARTS, adjustedLength, scanLength } = asEngine ? sampleParts(vocab) : sampleParts(vocab, SMALL_PART)
  const logits = await gpu.upload(allLogits, 'f32')
  const step = await gpu.step({ logitRows })
  const counts = await gpu.upload(allCounts, 'u32')
  const adjusted = await gpu.poisoned(rows.length * adjustedLength, 'f32')
  const scan = await gpu.poisoned(rows.length * scanLength, 'u32')
  const sampled = await gpu.upload(new Array(rows.length).fill(untouched), 'u32')
  const results = await gpu.poisoned(rows.length * RESULT_WORDS, 'u32')
  if (asEngine) {
    const sampler = await Sampler.create({ device: gpu.device, pipelines: gpu.pipelines('f32', 'f32'), buffers: { logits, step, adjusted, scan, counts, sampled, results } }, vocab)
    const list = new CommandList()
    sampler.record(list, { logitRows: rows.length })
    const encoder = gpu.device.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    list.replay(pass)
    pass.end()
    gpu.device.queue.submit([encoder.finish()])
  } else {
    const shape = { VOCAB: vocab, PART, PARTS, ROLLED: gpu.device.capabilities.software ? 1 : 0, THREADS: threads }
    await gpu.run(sampleScan, { overrides: shape, buffers: { logits, step, counts, adjusted, scan }, grid: [PARTS, rows.length, 1] })
    await gpu.run(sampleChoose, {
      overrides: { ...shape, LIST: Math.max(SMALL_LIST, threads), RESULT_WORDS },
      buffers: { logits, step, adjusted, scan, counts, sampled, results },
      grid: [rows.length, 1, 1]
    })
  }
  const words = await gpu.bits(results, rows.length * RESULT_WORDS, 'u32')
  const floats = new Float32Array(words.buffer)
  // Nothing is written behind these.
  await gpu.bits(adjusted, rows.length * adjustedLength, 'f32')
  await gpu.bits(scan, rows.length * scanLength, 'u32')
  return {
    results: logitRows.map(({ numTop }, row) => {
      const pair = (at: number): { token: number, logprob: number } => ({ token: words[at] ?? NaN, logprob: floats[at + 1] ?? NaN })
      const start = row * RESULT_WORDS
      return { ...pair(start), top: Array.from({ length: numTop }, (_, n) => pair(start + 4 + 2 * n)) }
    }),
    sampled: await gpu.download(sampled, rows.length, 'u32'),
    counts: await gpu.bits(counts, rows.length * vocab, 'u32')
  }
}

/** The record of a row sampled with `params`. */
export function recordOf (params: SamplingParams, change: Partial<LogitRecord> = {}): Partial<LogitRecord> {
  const { temperature, topK, topP, minP, seed, presencePenalty, frequencyPenalty, repetitionPenalty, logitBias, numLogprobs } = params
  return {
    temperature,
    topK,
    topP,
    minP,
    seed,
    presencePenalty,
    frequencyPenalty,
    repetitionPenalty,
    bias: logitBias,
    logprobs: numLogprobs !== undefined,
    numTop: numLogprobs ?? 0,
    penalties: presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1,
    ...change
  }
}

export const tokensOf = ({ results }: Sampled): number[] => results.map(({ token }) => token)

export function countsOf ({ promptTokens, outputTokens }: TokenHistory, vocab: number): Uint32Array {
  const counts = new Uint32Array(vocab)
  for (const token of outputTokens) counts[token] = (counts[token] ?? 0) + 1
  for (const token of promptTokens) counts[token] = ((counts[token] ?? 0) | 0x80000000) >>> 0
  return counts
}
