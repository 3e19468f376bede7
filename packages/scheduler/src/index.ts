export * from './generation.ts'
export { systemClock } from './clock.ts'
export type { Clock } from './clock.ts'
export { SCHEDULER_DEFAULTS, schedulerConfig } from './config.ts'
export type { SchedulerConfig } from './config.ts'
export {
  ContextLengthExceededError, DuplicateRequestError, InvalidRequestError, KVCapacityExceededError, LoopStoppedError, QueueFullError,
  SchedulerConfigError, SchedulerError, SchedulerInvariantError
} from './errors.ts'
export type { QueueFullDetails, SchedulerErrorCode } from './errors.ts'
export { GenerationLoop } from './generation-loop.ts'
export type { GenerationListener, GenerationLoopOptions, StepSummary } from './generation-loop.ts'
export { groupByPrefix, groupByPrefixInTurns, prefixSavings } from './prefix-groups/group-by-prefix.ts'
export type { PrefixGroup, PrefixSavings } from './prefix-groups/group-by-prefix.ts'
export { orderGroups } from './prefix-groups/order-groups.ts'
export type { PromptWork } from './prefix-groups/order-groups.ts'
export type { PromptTokens } from './prefix-groups/prefix-tree.ts'
export { Scheduler } from './scheduler.ts'
