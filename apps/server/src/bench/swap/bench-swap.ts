import type { Engine } from '@daybreak/engine'
import type { KVBlockSwap } from '@daybreak/engine/contract'
import { blockId, blocksFor, hostSlot } from '@daybreak/kvcache'
import { BenchSequence } from '../engine/bench-sequence.ts'
import { whyNotRunnable } from '../engine/engine-bench-plan.ts'
import type { StepPipeline, StepTimings } from '../engine/step-pipeline.ts'
import { RandomStream } from '../random-stream.ts'
import { median } from '../statistics.ts'

export interface SwapBenchPlan {
  /** Tokens of the sequences that give way, one measurement each. */
  readonly contexts: readonly number[]
  /** The median counts. */
  readonly repeats: number
  readonly seed: number
}

/** How a sequence's blocks lie: neighbours are copied in one piece, and descending ones have none. */
export type BlockArrangement = 'neighbours' | 'scattered'

export interface SwapMeasurement {
  readonly context: number
  readonly arrangement: BlockArrangement
  /** Why it was not run; the numbers are then zeros. */
  readonly skipped: string | undefined
  readonly bytes: number
  /** Computing all of it, as nothing else runs. */
  readonly recomputeMs: number
  /** Copying it to the host and back, as nothing else runs: from submission to result. */
  readonly outMs: number
  readonly inMs: number
  /** As the runner reports them to the scheduler. */
  readonly outSwapMs: number
  readonly inSwapMs: number
  /** The thread that submits is busy for so long. */
  readonly outHostMs: number
  readonly inHostMs: number
  /** By which the copies delay another sequence that decodes meanwhile. */
  readonly outDelayMs: number
  readonly inDelayMs: number
}

export interface SwapBenchOptions {
  readonly pipeline: StepPipeline
  readonly onProgress: (done: number, total: number, detail: string) => void
}

/** Another sequence's decodes, with the swaps among them, far enough apart that one is over when the next begins. */
const DECODES = 24
const OUT_AT = 8
const IN_AT = 16
/** Gaps in which a swap's delay may show: results come up to two steps late. */
const DELAYED_GAPS = 5
const OTHER_CONTEXT = 256
/** Of the other sequence, so that it decodes as often as is measured. */
const otherLength = (repeats: number): number => OTHER_CONTEXT + 1 + repeats * DECODES

const NOT_RUN = { bytes: 0, recomputeMs: 0, outMs: 0, inMs: 0, outSwapMs: 0, inSwapMs: 0, outHostMs: 0, inHostMs: 0, outDelayMs: 0, inDelayMs: 0 }

/** Tokens of the longest sequence of any measurement. */
export function longestSwapped ({ contexts, repeats }: SwapBenchPlan): number {
  return Math.max(...contexts.map(context => context + 1), otherLength(repeats))
}

/**
 * Measures what a preempted sequence costs either way: computing it again, or copying its blocks to the host and back. What does not
 * fit is reported as skipped. The engine's state rows, KV blocks and host slots are overwritten.
 */
export async function benchSwap (engine: Engine, plan: SwapBenchPlan, { pipeline, onProgress }: SwapBenchOptions): Promise<SwapMeasurement[]> {
  const measurements: SwapMeasurement[] = []
  const total = 2 * plan.contexts.length
  for (const context of plan.contexts) {
    for (const arrangement of ['neighbours', 'scattered'] as const) {
      onProgress(measurements.length, total, `${context} tokens, ${arrangement}`)
      measurements.push({ context, arrangement, ...await measure(engine, plan, context, arrangement, pipeline) })
    }
  }
  onProgress(total, total, 'done')
  return measurements
}

async function measure (
  { runner, report }: Engine, { repeats, seed }: SwapBenchPlan, context: number, arrangement: BlockArrangement, pipeline: StepPipeline
): Promise<Omit<SwapMeasurement, 'context' | 'arrangement'>> {
  const { limits, hostTier } = runner
  const numBlocks = blocksFor(context, limits.blockSize)
  const skipped = whyNotRunnable(2, Math.max(context + 1, otherLength(repeats)), limits) ?? whyNotSwappable(numBlocks, hostTier?.numSlots ?? 0)
  if (skipped !== undefined) return { skipped, ...NOT_RUN }
  const random = new RandomStream(seed)
  const longest = Math.max(context + 1, otherLength(repeats))
  const sequence = new BenchSequence(0, context, longest, limits, random)
  const other = new BenchSequence(1, OTHER_CONTEXT, longest, limits, random)
  const swaps = Array.from({ length: numBlocks }, (_, i): KVBlockSwap => ({
    block: blockId(arrangement === 'neighbours' ? i : numBlocks - 1 - i),
    slot: hostSlot(i)
  }))
  const prefill = async (which: BenchSequence, numTokens: number): Promise<StepTimings> => {
    which.restart()
    return await pipeline.run(Math.ceil(numTokens / limits.maxBatchedTokens), () => [which.prefill(limits.maxBatchedTokens)])
  }
  const recompute: StepTimings[] = []
  const out: StepTimings[] = []
  const back: StepTimings[] = []
  const beside: StepTimings[] = []
  await prefill(other, OTHER_CONTEXT)
  // The first round warms up.
  for (let round = 0; round <= repeats; round++) {
    recompute.push(await prefill(sequence, context))
    out.push(await pipeline.run(1, () => ({ sequences: [], swapOuts: swaps })))
    back.push(await pipeline.run(1, () => ({ sequences: [], swapIns: swaps })))
    if (round === 0) continue
    beside.push(await pipeline.run(DECODES, index => ({
      sequences: [other.decode()],
      ...index === OUT_AT && { swapOuts: swaps },
      ...index === IN_AT && { swapIns: swaps }
    })))
  }
  const measured = (timings: readonly StepTimings[], of: (timings: StepTimings) => number | undefined): number =>
    median(timings.slice(-repeats).map(each => (of(each) ?? NaN) * 1000))
  return {
    skipped,
    bytes: numBlocks * report.kvCacheBytes / limits.numKVBlocks,
    recomputeMs: measured(recompute, ({ seconds }) => seconds),
    outMs: measured(out, ({ seconds }) => seconds),
    inMs: measured(back, ({ seconds }) => seconds),
    outSwapMs: measured(out, ({ swapSeconds }) => swapSeconds[0]),
    inSwapMs: measured(back, ({ swapSeconds }) => swapSeconds[0]),
    outHostMs: measured(out, ({ hostSeconds }) => hostSeconds[0]),
    inHostMs: measured(back, ({ hostSeconds }) => hostSeconds[0]),
    outDelayMs: measured(beside, ({ gaps }) => delayFrom(gaps, OUT_AT)),
    inDelayMs: measured(beside, ({ gaps }) => delayFrom(gaps, IN_AT))
  }
}

function whyNotSwappable (numBlocks: number, numSlots: number): string | undefined {
  return numBlocks > numSlots ? `${numBlocks} blocks; host memory has room for ${numSlots}` : undefined
}

/**
 * What the gaps from a step's submission on are longer than as many others. With two in flight a step is submitted, and keeps the thread
 * busy, between the results of the two before it.
 */
function delayFrom (gaps: readonly number[], step: number): number {
  const delayed = gaps.slice(step - 2, step - 2 + DELAYED_GAPS)
  return delayed.reduce((sum, gap) => sum + gap, 0) - DELAYED_GAPS * median(gaps)
}
