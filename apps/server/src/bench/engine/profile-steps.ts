import type { Engine, GpuEngine, KernelTime } from '@daybreak/engine'
import type { ForwardSequence } from '@daybreak/engine/contract'
import { RandomStream } from '../random-stream.ts'
import { median } from '../statistics.ts'
import type { EngineBenchReport } from './bench-engine.ts'
import { BenchSequence } from './bench-sequence.ts'
import type { StepPipeline } from './step-pipeline.ts'

/** What an engine must have for its steps to be taken apart. */
export type StepProfiler = Pick<GpuEngine, 'profile' | 'measurePassSeconds'>

/** One step, or all of a prompt's, kernel by kernel. */
export interface StepProfile {
  readonly type: 'prefill' | 'decode'
  /** Sequences. */
  readonly batch: number
  /** Tokens of the prompt, or in each sequence that decodes. */
  readonly context: number
  /** More than one for a prompt that is longer than a step. */
  readonly numSteps: number
  /** Medians, the pass of its own that every dispatch had taken off; slowest first. */
  readonly kernels: readonly KernelTime[]
  readonly dispatches: number
  /** What was taken off in all. */
  readonly passSeconds: number
  /** What was measured of the same in one piece: device time of a decode step, time to the token of a prefill. */
  readonly wholeSeconds: number
}

export interface StepProfiles {
  /** Of one dispatch. */
  readonly passSeconds: number
  readonly steps: readonly StepProfile[]
}

export interface ProfileOptions {
  readonly profiler: StepProfiler
  /** The one that measured. */
  readonly pipeline: StepPipeline
  readonly passSeconds: number
  /** Times that each step is profiled. */
  readonly repeats: number
  readonly seed: number
  /** Seconds, monotonic. */
  readonly now: () => number
  readonly onProgress: (done: number, total: number, detail: string) => void
}

/** A GPU's clocks take a while to rise. */
const WAKE_SECONDS = 0.2

/** Profiles every step that `report` has measured. The engine's state rows and KV blocks are overwritten. */
export async function profileSteps (engine: Engine, report: EngineBenchReport, options: ProfileOptions): Promise<StepProfiles> {
  const { limits } = engine.runner
  const { pipeline, passSeconds, onProgress } = options
  const random = new RandomStream(options.seed)
  const prefill = report.prefill.filter(({ skipped }) => skipped === undefined)
  const decode = report.decode.filter(({ skipped }) => skipped === undefined)
  const total = prefill.length + decode.length
  const steps: StepProfile[] = []
  for (const { promptTokens, medianMs } of prefill) {
    onProgress(steps.length, total, `kernels of a prefill of ${promptTokens} tokens`)
    const sequence = new BenchSequence(0, promptTokens, promptTokens + 1, limits, random)
    const parts: Array<readonly KernelTime[]> = []
    while (sequence.numPromptTokensLeft > 0) parts.push(await profileStep(engine, [sequence.prefill(limits.maxBatchedTokens)], options))
    steps.push({ type: 'prefill', batch: 1, context: promptTokens, numSteps: parts.length, ...withoutPasses(parts.flat(), passSeconds), wholeSeconds: medianMs / 1000 })
  }
  for (const { batch, context, deviceStepMs } of decode) {
    onProgress(steps.length, total, `kernels of a decode of ${batch} sequences at ${context} tokens`)
    const sequences = Array.from({ length: batch }, (_, row) => new BenchSequence(row, context, context + 1, limits, random))
    for (const sequence of sequences) {
      while (sequence.numPromptTokensLeft > 0) await pipeline.run(1, () => [sequence.prefill(limits.maxBatchedTokens)])
    }
    const times = await profileStep(engine, sequences.map(sequence => sequence.decode()), options)
    steps.push({ type: 'decode', batch, context, numSteps: 1, ...withoutPasses(times, passSeconds), wholeSeconds: deviceStepMs / 1000 })
  }
  onProgress(total, total, 'done')
  return { passSeconds, steps }
}

/** Medians by label of a step that is run again and again: it writes and samples the same each time. */
async function profileStep (engine: Engine, sequences: readonly ForwardSequence[], { profiler, pipeline, repeats, now }: ProfileOptions): Promise<readonly KernelTime[]> {
  const batch = { step: pipeline.numSteps, sequences, moves: [] }
  const started = now()
  do await profiler.profile(batch)
  while (now() - started < WAKE_SECONDS && !engine.report.adapter.software)
  const runs: Array<readonly KernelTime[]> = []
  for (let run = 0; run < repeats; run++) runs.push(await profiler.profile(batch))
  return (runs[0] ?? []).map(({ label, dispatches }) => ({
    label,
    dispatches,
    seconds: median(runs.map(times => times.find(time => time.label === label)?.seconds ?? 0))
  }))
}

/** Sums by label, less what each dispatch's own pass takes; never less than nothing. */
export function withoutPasses (times: readonly KernelTime[], passSeconds: number): Pick<StepProfile, 'kernels' | 'dispatches' | 'passSeconds'> {
  const sums = new Map<string, { dispatches: number, seconds: number }>()
  for (const { label, dispatches, seconds } of times) {
    const sum = sums.get(label) ?? { dispatches: 0, seconds: 0 }
    sums.set(label, { dispatches: sum.dispatches + dispatches, seconds: sum.seconds + seconds })
  }
  const kernels = [...sums].map(([label, { dispatches, seconds }]) => ({ label, dispatches, seconds: Math.max(0, seconds - dispatches * passSeconds) }))
  const dispatches = kernels.reduce((sum, kernel) => sum + kernel.dispatches, 0)
  return { kernels: kernels.sort((a, b) => b.seconds - a.seconds), dispatches, passSeconds: dispatches * passSeconds }
}
