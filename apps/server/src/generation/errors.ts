/** Why `GenerationService.generate` refused a request. The wire maps each code to a status; the numbers go into its message. */

/** The bounded queue has no room. Worth another try after `retryAfterSeconds`. */
export class QueueFullError extends Error {
  override readonly name = 'QueueFullError'
  readonly code = 'GENERATION_QUEUE_FULL'
  readonly details: {
    readonly waitingRequests: number
    readonly maxWaitingRequests: number
    readonly waitingTokens: number
    readonly maxWaitingTokens: number
    /** Estimate from the present throughput, 1 to 60. */
    readonly retryAfterSeconds: number
  }

  constructor (details: QueueFullError['details']) {
    super(`the queue is full: ${details.waitingRequests} of ${details.maxWaitingRequests} requests and ` +
      `${details.waitingTokens} of ${details.maxWaitingTokens} prompt tokens are waiting`)
    this.details = details
  }
}

/** The prompt leaves no room for the tokens asked for. Another try cannot help. */
export class ContextLengthExceededError extends Error {
  override readonly name = 'ContextLengthExceededError'
  readonly code = 'GENERATION_CONTEXT_LENGTH'
  readonly details: { readonly promptTokens: number, readonly maxModelLen: number }

  constructor (details: ContextLengthExceededError['details']) {
    super(`the prompt has ${details.promptTokens} tokens; the model's context is ${details.maxModelLen} tokens, and at least one must be left to generate`)
    this.details = details
  }
}

/** The service takes no requests now: it is loading, draining, or has failed for good. */
export class ServiceUnavailableError extends Error {
  override readonly name = 'ServiceUnavailableError'
  readonly code = 'GENERATION_UNAVAILABLE'
  readonly details: { readonly state: string }

  constructor (details: ServiceUnavailableError['details']) {
    super(`the server takes no requests now: it is ${details.state}`)
    this.details = details
  }
}

/** Two unfinished requests would have the same id: a fault of the caller's, not of the client's. */
export class DuplicateRequestError extends Error {
  override readonly name = 'DuplicateRequestError'
  readonly code = 'GENERATION_DUPLICATE_ID'
  readonly details: { readonly id: string }

  constructor (details: DuplicateRequestError['details']) {
    super(`request ${details.id} is still unfinished`)
    this.details = details
  }
}
