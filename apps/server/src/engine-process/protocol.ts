/**
 * The messages between the server and its engine process, over the fork's IPC channel with structured clone (`serialization:
 * 'advanced'`). Both ends come from one build, so there is one version and no negotiation. No message carries text, and none is logged.
 */
import { z } from 'zod'
import type { EngineOptions, EngineReport, LoadProgress } from '@daybreak/engine'
import type { GenerationRequest, PreemptionMode, SchedulerStats } from '@daybreak/scheduler'
import type { EngineCapacity } from '../generation/generation-service.ts'
import { isStepMessage } from './step-message.ts'
import type { StepMessage } from './step-message.ts'

/** Everything an engine process needs to know; it reads neither arguments nor environment of its own. */
export interface EngineProcessConfig {
  readonly engine: Omit<EngineOptions, 'onProgress'>
  readonly scheduler: {
    /** Token budget of one step; undefined: the engine's own limit, or less on a software adapter. */
    readonly maxBatchedTokens: number | undefined
    readonly prefixCaching: boolean
    readonly preemption: PreemptionMode
    /** Undefined, as of the next: the scheduler's own. */
    readonly swapInStepBlocks?: number | undefined
    readonly backgroundStepTokens?: number | undefined
    readonly backgroundRideTokens?: number
  }
  readonly logLevel: string
  /** 0 for the first process, then one more after every restart. */
  readonly incarnation: number
}

export type ParentMessage =
  /** Always first: open the engine. Answered by `progress`…, then `ready` or `fatal`. */
  | { readonly type: 'configure', readonly config: EngineProcessConfig }
  /** `request.id` is made by `engineRequestId`. */
  | { readonly type: 'generate', readonly request: GenerationRequest }
  | { readonly type: 'abort', readonly id: string, readonly choice: number | undefined }
  | { readonly type: 'pause', readonly id: string }
  | { readonly type: 'resume', readonly id: string }
  /** Free the device and exit with 0. */
  | { readonly type: 'shutdown' }

export type ChildMessage =
  | { readonly type: 'progress', readonly progress: LoadProgress }
  | { readonly type: 'ready', readonly capacity: EngineCapacity, readonly report: EngineReport }
  | StepMessage
  /** The snapshot changed without a step: something was queued, aborted or paused. */
  | { readonly type: 'stats', readonly stats: SchedulerStats }
  /** The scheduler refused the request; nothing else will be said about it. */
  | { readonly type: 'rejected', readonly id: string, readonly code: string, readonly message: string, readonly details: unknown }
  /** The process is about to exit with 1: it cannot load, or can no longer work. */
  | { readonly type: 'fatal', readonly code: string, readonly message: string }

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

// Deep inside these the types are the compiler's promise: both ends are one build, and prompts are too long to walk twice.
const request = z.custom<GenerationRequest>(value => isRecord(value) && typeof value['id'] === 'string' &&
  Array.isArray(value['promptTokens']) && Array.isArray(value['choices']))
const config = z.custom<EngineProcessConfig>(value => isRecord(value) && isRecord(value['engine']) && isRecord(value['scheduler']))
const stats = z.custom<SchedulerStats>(value => isRecord(value) && typeof value['numSteps'] === 'number')
const capacity = z.custom<EngineCapacity>(value => isRecord(value) && typeof value['maxModelLen'] === 'number')
const report = z.custom<EngineReport>(value => isRecord(value) && isRecord(value['adapter']))
const progress = z.custom<LoadProgress>(value => isRecord(value) && typeof value['stage'] === 'string')

const parentMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('configure'), config }),
  z.object({ type: z.literal('generate'), request }),
  z.object({ type: z.literal('abort'), id: z.string(), choice: z.int().nonnegative().or(z.undefined()) }),
  z.object({ type: z.literal('pause'), id: z.string() }),
  z.object({ type: z.literal('resume'), id: z.string() }),
  z.object({ type: z.literal('shutdown') })
])

const childMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('progress'), progress }),
  z.object({ type: z.literal('ready'), capacity, report }),
  z.object({ type: z.literal('stats'), stats }),
  z.object({ type: z.literal('rejected'), id: z.string(), code: z.string(), message: z.string(), details: z.unknown() }),
  z.object({ type: z.literal('fatal'), code: z.string(), message: z.string() })
])

/** Undefined for anything that is not a message of this protocol. */
export function parseParentMessage (value: unknown): ParentMessage | undefined {
  const parsed = parentMessage.safeParse(value)
  return parsed.success ? parsed.data : undefined
}

/** Undefined for anything that is not a message of this protocol. */
export function parseChildMessage (value: unknown): ChildMessage | undefined {
  if (isStepMessage(value)) return value
  const parsed = childMessage.safeParse(value)
  return parsed.success ? parsed.data : undefined
}
