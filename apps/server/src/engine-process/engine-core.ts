/** What the engine process drives: a loaded model behind a scheduler. Composed for real in compose.ts, around a fake runner in tests. */
import type { EngineReport, LoadProgress } from '@daybreak/engine'
import type { GenerationEvent, GenerationRequest, SchedulerStats } from '@daybreak/scheduler'
import type { EngineCapacity, StepSummary } from '../generation/generation-service.ts'
import type { EngineProcessConfig } from './protocol.ts'

export interface EngineCore extends AsyncDisposable {
  readonly capacity: EngineCapacity
  readonly report: EngineReport
  readonly stats: SchedulerStats
  /** Queues a request. @throws an error with a `code` when the scheduler refuses it. */
  generate (request: GenerationRequest): void
  abort (id: string, choice: number | undefined): void
  pause (id: string): void
  resume (id: string): void
}

export interface EngineListener {
  /** While the engine opens. */
  onProgress (progress: LoadProgress): void
  /** After each step: all its events. Also for events that came without a step; `summary` is then undefined. */
  onEvents (events: readonly GenerationEvent[], summary: StepSummary | undefined): void
  /** The engine can no longer execute; nothing follows. */
  onFatal (error: unknown): void
}

/** Opens an engine and starts its loop. */
export type ComposeEngine = (config: EngineProcessConfig, listener: EngineListener) => Promise<EngineCore>
