/** Why a request was refused, or what went wrong, in numbers and names. */
export type ErrorDetails = Readonly<Record<string, number | string>>

/** Codes the scheduler puts on errors and on `finish` events; stable. */
export type SchedulerErrorCode =
  | 'context_length_exceeded' | 'kv_capacity_exceeded' | 'queue_full' | 'duplicate_request' | 'invalid_request'
  | 'kv_cache_exhausted' | 'scheduler_config' | 'scheduler_stopped' | 'scheduler_invariant'

/** Base of everything this package throws. */
export abstract class SchedulerError<D extends ErrorDetails = ErrorDetails> extends Error {
  abstract readonly code: SchedulerErrorCode
  readonly details: D

  constructor (message: string, details: D) {
    super(message)
    this.details = details
  }
}

/** The prompt leaves no room for even one generated token. */
export class ContextLengthExceededError extends SchedulerError<{ promptTokens: number, maxModelLen: number }> {
  override readonly name = 'ContextLengthExceededError'
  readonly code = 'context_length_exceeded'

  constructor (details: { promptTokens: number, maxModelLen: number }) {
    super(`prompt has ${details.promptTokens} tokens; the model's context is ${details.maxModelLen}, output included`, details)
  }
}

/** The prompt would not fit even if it had the whole KV cache to itself. */
export class KVCapacityExceededError extends SchedulerError<{ promptTokens: number, neededBlocks: number, numBlocks: number }> {
  override readonly name = 'KVCapacityExceededError'
  readonly code = 'kv_capacity_exceeded'

  constructor (details: { promptTokens: number, neededBlocks: number, numBlocks: number }) {
    super(`prompt of ${details.promptTokens} tokens needs ${details.neededBlocks} KV blocks; the cache has ${details.numBlocks}`, details)
  }
}

export interface QueueFullDetails extends ErrorDetails {
  readonly waitingRequests: number
  readonly maxWaitingRequests: number
  /** Prompt tokens already waiting. */
  readonly waitingTokens: number
  readonly maxWaitingTokens: number
  /** How long the request at the head has waited: an estimate of the wait, for `retry-after`. */
  readonly oldestWaitSeconds: number
}

/** The bounded queue has no room; a later attempt may succeed. */
export class QueueFullError extends SchedulerError<QueueFullDetails> {
  override readonly name = 'QueueFullError'
  readonly code = 'queue_full'

  constructor (details: QueueFullDetails) {
    super(`${details.waitingRequests} requests with ${details.waitingTokens} tokens are waiting; ` +
      `the limits are ${details.maxWaitingRequests} and ${details.maxWaitingTokens}`, details)
  }
}

/** An unfinished request has the same id. */
export class DuplicateRequestError extends SchedulerError<{ id: string }> {
  override readonly name = 'DuplicateRequestError'
  readonly code = 'duplicate_request'

  constructor (id: string) {
    super(`request ${id} is already being generated`, { id })
  }
}

/** The request makes no sense: no prompt, no choices, a length that is no count, a token outside the vocabulary. */
export class InvalidRequestError extends SchedulerError {
  override readonly name = 'InvalidRequestError'
  readonly code = 'invalid_request'
}

/** Limits under which nothing could ever be scheduled. */
export class SchedulerConfigError extends SchedulerError {
  override readonly name = 'SchedulerConfigError'
  readonly code = 'scheduler_config'
}

/** The loop has been disposed, or its runner has failed: it takes no more requests. */
export class LoopStoppedError extends SchedulerError {
  override readonly name = 'LoopStoppedError'
  readonly code = 'scheduler_stopped'
}

/** The bookkeeping contradicts itself, or the runner's answer contradicts its batch: a bug, never load. */
export class SchedulerInvariantError extends SchedulerError {
  override readonly name = 'SchedulerInvariantError'
  readonly code = 'scheduler_invariant'

  constructor (message: string, details: ErrorDetails = {}) {
    super(`${message} ${JSON.stringify(details)}`, details)
  }
}

/** @throws SchedulerInvariantError unless `condition` holds. */
export function invariant (condition: boolean, message: string, details?: ErrorDetails): asserts condition {
  if (!condition) throw new SchedulerInvariantError(message, details)
}
