import { SchedulerConfigError } from './errors.ts'

/** What becomes of a preempted sequence's blocks: computed anew, copied to the host and back, or whichever is estimated to be faster. */
export type PreemptionMode = 'auto' | 'swap' | 'recompute'

export interface SchedulerConfig {
  /** Requests none of whose tokens have been scheduled yet. */
  readonly maxWaitingRequests: number
  /** Prompt tokens of those requests. */
  readonly maxWaitingTokens: number
  /** Most prompt tokens of one sequence in one step; the step's own budget applies besides. */
  readonly maxPrefillChunk: number
  /** Share of the KV blocks that admission leaves free while others are running, 0..1. */
  readonly watermark: number
  /** Times one sequence may be preempted before it fails with `kv_cache_exhausted`. */
  readonly maxPreemptions: number
  /**
   * Tokens of a step of background work, of which one is under way at a time, until other work has been away for `backgroundQuietSeconds`; then
   * steps are as large as any, and follow each other as closely. 0: none until then. Undefined: a sixteenth of a step's budget.
   */
  readonly backgroundStepTokens: number | undefined
  readonly backgroundQuietSeconds: number
  /** Tokens of background work that ride along in a step of other work. */
  readonly backgroundRideTokens: number
  /** Where the KV cache has no host slots, always `recompute`. */
  readonly preemption: PreemptionMode
  /** First estimate of copying one block one way, in seconds; undefined: unknown, and `auto` computes anew. */
  readonly swapBlockSeconds: number | undefined
  /**
   * Most blocks of preempted sequences that one step brings back from host memory, whose copies delay everybody's tokens; a sequence with more
   * of them comes back in a step of its own. Undefined: as many as are copied in the time that a step full of prompt takes.
   */
  readonly swapInStepBlocks: number | undefined
}

export const PREEMPTION_MODES: readonly PreemptionMode[] = ['auto', 'swap', 'recompute']

export const SCHEDULER_DEFAULTS: SchedulerConfig = {
  // Some seconds to minutes of work for one GPU; whoever comes later is better served elsewhere, and told at once.
  maxWaitingRequests: 1024,
  // 1,024 ordinary prompts of about 1,000 tokens, or 128 that fill a context of 8,192.
  maxWaitingTokens: 1_048_576,
  // A smaller chunk makes a long prompt slower and nothing faster, as decodes are in every step anyway.
  maxPrefillChunk: Number.MAX_SAFE_INTEGER,
  // On top of one block for each running sequence. Admitting into the last blocks preempts right after.
  watermark: 0.01,
  // The oldest request always makes progress, so this ends pathological thrashing only.
  maxPreemptions: 64,
  // Whoever comes next waits for the step that is under way: it is short as long as somebody may come. Simulated for an H100, it costs 1 to 10 % of
  // p99 TTFT (16 to 1 requests a second) and leaves the batch 60 to 75 % of its rate; a server where nobody has come for a minute is idle.
  backgroundStepTokens: undefined,
  backgroundQuietSeconds: 60,
  // Everything that rides along makes the token that somebody waits for come later.
  backgroundRideTokens: 0,
  // Either may be faster by an order of magnitude: that depends on model, context, GPU and bus.
  preemption: 'auto',
  swapBlockSeconds: undefined,
  // Whoever decodes beside prompts has gaps of such a step anyway. As long as either rate is unknown: one sequence a step.
  swapInStepBlocks: undefined
}

/** Applies the defaults. @throws SchedulerConfigError on limits under which nothing can be scheduled. */
export function schedulerConfig (options: Partial<SchedulerConfig> = {}): SchedulerConfig {
  const config = { ...SCHEDULER_DEFAULTS, ...options }
  const {
    watermark, maxPreemptions, preemption, swapBlockSeconds, swapInStepBlocks = 1, backgroundStepTokens = 0, backgroundQuietSeconds, backgroundRideTokens, ...atLeastOne
  } = config
  for (const [name, value] of Object.entries({ ...atLeastOne, swapInStepBlocks })) {
    if (!Number.isInteger(value) || value < 1) throw new SchedulerConfigError(`${name} is a count of at least 1, not ${value}`, { [name]: value })
  }
  for (const [name, value] of Object.entries({ maxPreemptions, backgroundStepTokens, backgroundRideTokens })) {
    if (!Number.isInteger(value) || value < 0) throw new SchedulerConfigError(`${name} is a count, not ${value}`, { [name]: value })
  }
  if (!(backgroundQuietSeconds >= 0)) throw new SchedulerConfigError(`backgroundQuietSeconds is a time, not ${backgroundQuietSeconds}`, { backgroundQuietSeconds })
  if (!PREEMPTION_MODES.includes(preemption)) throw new SchedulerConfigError(`preemption is ${PREEMPTION_MODES.join(', ')}, not ${String(preemption)}`, { preemption })
  if (swapBlockSeconds !== undefined && !(swapBlockSeconds > 0)) {
    throw new SchedulerConfigError(`swapping a block takes some time, not ${swapBlockSeconds} seconds`, { swapBlockSeconds })
  }
  if (!(watermark >= 0 && watermark < 1)) throw new SchedulerConfigError(`watermark is a share below 1, not ${watermark}`, { watermark })
  return config
}
