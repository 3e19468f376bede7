/**
 * The seam between the wire and whatever generates tokens: a supervised engine process in production, a fake in tests.
 */
import type { GenerationEvent, GenerationRequest, SchedulerStats } from '@daybreak/scheduler'
import type { QueueLimits } from './admission.ts'

export type ServiceState = 'loading' | 'ready' | 'recovering' | 'draining' | 'failed'

/** What the running engine can take; known once it is ready. */
export interface EngineCapacity {
  readonly maxModelLen: number
  readonly maxSequences: number
  readonly maxBatchedTokens: number
  readonly vocabSize: number
  readonly numKVBlocks: number
  /** Blocks that host memory has room for; 0: preempted sequences are always computed anew. */
  readonly numHostSlots: number
  readonly blockSize: number
  readonly dtype: string
  readonly adapter: string
  readonly softwareAdapter: boolean
}

/** One request's events, in arrays as steps deliver them. Ends after every choice has finished. */
export interface GenerationStream extends AsyncIterable<readonly GenerationEvent[]> {
  /** Stops one choice, or all of them; its blocks are free before the next step. Safe to call at any time, any number of times. */
  abort (choice?: number): void
  /** Takes the request out of the schedule until `resume`, for a reader that cannot keep up. It keeps its place. */
  pause (): void
  resume (): void
}

export interface GenerationService {
  readonly state: ServiceState
  readonly capacity: EngineCapacity | undefined
  /** What may wait at most; absent: anything. */
  readonly queueLimits?: QueueLimits | undefined
  /** Latest snapshot; all zero before the engine is ready. */
  readonly stats: SchedulerStats
  /** False when work is queued and no step has finished for the configured time: what `/health` reports. */
  readonly progressing: boolean
  /** Times the engine process was replaced since the start. */
  readonly numRestarts: number
  /**
   * Queues a request. Never rejects for a full pool: it waits.
   * @throws QueueFullError when the bounded queue is full, ServiceUnavailableError while not ready.
   */
  generate (request: GenerationRequest): GenerationStream
  /** Called once per engine step with its token counts, for `vllm:iteration_tokens_total` and step-time metrics. */
  onStep (listener: (step: StepSummary) => void): void
}

export interface StepSummary {
  readonly numTokens: number
  readonly numSequences: number
  readonly hostSeconds: number
  readonly deviceSeconds: number
}
