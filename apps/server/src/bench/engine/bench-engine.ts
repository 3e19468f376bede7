import type { Engine } from '@daybreak/engine'
import type { ForwardSequence } from '@daybreak/engine/contract'
import { RandomStream } from '../random-stream.ts'
import { median, percentile } from '../statistics.ts'
import { BenchSequence } from './bench-sequence.ts'
import { decodeLength, whyNotRunnable } from './engine-bench-plan.ts'
import type { EngineBenchPlan } from './engine-bench-plan.ts'
import { StepPipeline } from './step-pipeline.ts'
import type { StepTimings } from './step-pipeline.ts'

export interface PrefillMeasurement {
  readonly promptTokens: number
  /** Why it was not run; the numbers are then zeros. */
  readonly skipped: string | undefined
  /** Of the median run. */
  readonly tokensPerSecond: number
  /** From submission to the sampled token. */
  readonly medianMs: number
  readonly minMs: number
  readonly maxMs: number
}

export interface DecodeMeasurement {
  readonly batch: number
  /** Tokens in each sequence when measuring began. */
  readonly context: number
  readonly skipped: string | undefined
  readonly numSteps: number
  /** Of the whole batch, over the whole run. */
  readonly tokensPerSecond: number
  readonly medianStepMs: number
  readonly p99StepMs: number
  /** As the runner reports them, medians. */
  readonly deviceStepMs: number
  readonly hostStepMs: number
  /** All weights' bytes times steps per second: what a step that reads each weight once achieves. KV reads are not counted. */
  readonly weightBytesPerSecond: number
  /** The same over the adapter's measured copy bandwidth (bytes read + written), where that is known. */
  readonly copyBandwidthShare: number | undefined
}

export interface EngineBenchReport {
  readonly prefill: readonly PrefillMeasurement[]
  readonly decode: readonly DecodeMeasurement[]
}

export interface EngineBenchOptions {
  /** Bytes per second, read and written together; undefined when it was not measured. */
  readonly copyBandwidth: number | undefined
  /** Seconds, monotonic. */
  readonly now: () => number
  readonly onProgress: (done: number, total: number, detail: string) => void
  /** The runner's, for callers that go on with it: steps are numbered over its whole life. */
  readonly pipeline?: StepPipeline
}

/** Rounds of a case that an engine decodes at most before the first that is measured; the clock is looked at after so many steps. */
const WAKE_ROUNDS = 8
const WAKE_STEPS = 16

const NOT_RUN = { tokensPerSecond: 0, medianMs: 0, minMs: 0, maxMs: 0 }
const NOT_DECODED = { numSteps: 0, tokensPerSecond: 0, medianStepMs: 0, p99StepMs: 0, deviceStepMs: 0, hostStepMs: 0, weightBytesPerSecond: 0, copyBandwidthShare: undefined }

/**
 * Measures an engine's prefill and decode without HTTP, scheduler or tokenizer: it builds the batches itself. What does not fit the
 * engine's limits is reported as skipped. The engine's state rows and KV blocks are overwritten.
 */
export async function benchEngine (engine: Engine, plan: EngineBenchPlan, options: EngineBenchOptions): Promise<EngineBenchReport> {
  const bench = new EngineBench(engine, plan, options)
  const prefill: PrefillMeasurement[] = []
  const decode: DecodeMeasurement[] = []
  const total = plan.prompts.length + plan.batches.length * plan.contexts.length
  for (const promptTokens of plan.prompts) {
    options.onProgress(prefill.length, total, `prefill of ${promptTokens} tokens`)
    prefill.push(await bench.prefill(promptTokens))
  }
  for (const context of plan.contexts) {
    for (const batch of plan.batches) {
      options.onProgress(prefill.length + decode.length, total, `decode of ${batch} sequences at ${context} tokens`)
      decode.push(await bench.decode(batch, context))
    }
  }
  options.onProgress(total, total, 'done')
  return { prefill, decode }
}

class EngineBench {
  readonly #engine: Engine
  readonly #plan: EngineBenchPlan
  readonly #options: EngineBenchOptions
  readonly #pipeline: StepPipeline
  readonly #random: RandomStream
  #isAwake = false

  constructor (engine: Engine, plan: EngineBenchPlan, options: EngineBenchOptions) {
    this.#engine = engine
    this.#plan = plan
    this.#options = options
    this.#pipeline = options.pipeline ?? new StepPipeline(engine.runner, options.now)
    this.#random = new RandomStream(plan.seed)
  }

  async prefill (promptTokens: number): Promise<PrefillMeasurement> {
    const { limits } = this.#engine.runner
    const skipped = whyNotRunnable(1, promptTokens + 1, limits)
    if (skipped !== undefined) return { promptTokens, skipped, ...NOT_RUN }
    const sequence = new BenchSequence(0, promptTokens, promptTokens + 1, limits, this.#random)
    const milliseconds: number[] = []
    // The first run warms up: pipelines, caches, clocks.
    for (let run = 0; run <= this.#plan.prefillRepeats; run++) {
      sequence.restart()
      const { seconds } = await this.#prefillAll([sequence])
      if (run > 0) milliseconds.push(seconds * 1000)
    }
    const medianMs = median(milliseconds)
    const spread = { medianMs, minMs: percentile(milliseconds, 0), maxMs: percentile(milliseconds, 100) }
    return { promptTokens, skipped, tokensPerSecond: promptTokens / medianMs * 1000, ...spread }
  }

  async decode (batch: number, context: number): Promise<DecodeMeasurement> {
    const { limits } = this.#engine.runner
    const length = decodeLength(this.#plan, context)
    const skipped = whyNotRunnable(batch, length, limits)
    if (skipped !== undefined) return { batch, context, skipped, ...NOT_DECODED }
    const sequences = Array.from({ length: batch }, (_, row) => new BenchSequence(row, context, length, limits, this.#random))
    const decodeAll = (): readonly ForwardSequence[] => sequences.map(sequence => sequence.decode())
    if (!this.#isAwake) await this.#wake(sequences, decodeAll)
    await this.#prefillAll(sequences)
    await this.#pipeline.run(this.#plan.warmupSteps, decodeAll)
    const timings = await this.#pipeline.run(this.#plan.decodeTokens, decodeAll)
    return { batch, context, skipped, ...this.#decodeNumbers(batch, timings) }
  }

  /** Decodes for a while without measuring. A process's first steps are compiled while they run, and an idle GPU's clocks are low: one token took up to twice as long. */
  async #wake (sequences: readonly BenchSequence[], decodeAll: () => readonly ForwardSequence[]): Promise<void> {
    const { now } = this.#options
    const { wakeSeconds = 0, decodeTokens } = this.#plan
    const begun = now()
    const isOver = (): boolean => now() - begun >= wakeSeconds
    for (let round = 0; round < WAKE_ROUNDS && !isOver(); round++) {
      await this.#prefillAll(sequences)
      for (let steps = 0; steps < decodeTokens && !isOver(); steps += WAKE_STEPS) await this.#pipeline.run(Math.min(WAKE_STEPS, decodeTokens - steps), decodeAll)
      for (const sequence of sequences) sequence.restart()
    }
    this.#isAwake = true
  }

  #decodeNumbers (batch: number, timings: StepTimings): Omit<DecodeMeasurement, 'batch' | 'context' | 'skipped'> {
    const numSteps = this.#plan.decodeTokens
    const weightBytesPerSecond = this.#engine.report.weightBytes * numSteps / timings.seconds
    const { copyBandwidth } = this.#options
    // A single step has no gap: its own time stands for it.
    const stepSeconds = timings.gaps.length > 0 ? timings.gaps : [timings.seconds]
    return {
      numSteps,
      tokensPerSecond: batch * numSteps / timings.seconds,
      medianStepMs: median(stepSeconds) * 1000,
      p99StepMs: percentile(stepSeconds, 99) * 1000,
      deviceStepMs: median(timings.deviceSeconds) * 1000,
      hostStepMs: median(timings.hostSeconds) * 1000,
      weightBytesPerSecond,
      copyBandwidthShare: copyBandwidth === undefined ? undefined : weightBytesPerSecond / copyBandwidth
    }
  }

  /** Computes every prompt in chunks of at most a step's tokens, several prompts to a step where they fit. */
  async #prefillAll (sequences: readonly BenchSequence[]): Promise<StepTimings> {
    const { maxBatchedTokens } = this.#engine.runner.limits
    const promptTokens = sequences.reduce((total, sequence) => total + sequence.numPromptTokensLeft, 0)
    return await this.#pipeline.run(Math.ceil(promptTokens / maxBatchedTokens), () => {
      const chunks: ForwardSequence[] = []
      let budget = maxBatchedTokens
      for (const sequence of sequences) {
        const numTokens = Math.min(budget, sequence.numPromptTokensLeft)
        if (numTokens > 0) chunks.push(sequence.prefill(numTokens))
        budget -= numTokens
      }
      return chunks
    })
  }
}
