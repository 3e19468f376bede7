/** Refusals that `GenerationService.generate` throws beside `errors.ts`'s QueueFullError and ServiceUnavailableError. */

/** The prompts already waiting are too long together. The same code as a queue full of requests: the client's remedy is the same. */
export class QueueTokensExceededError extends Error {
  override readonly name = 'QueueTokensExceededError'
  readonly code = 'SERVER_QUEUE_FULL'
  readonly details: { readonly waitingTokens: number, readonly limit: number, readonly retryAfterSeconds: number }

  constructor (details: QueueTokensExceededError['details']) {
    super(`${details.waitingTokens} prompt tokens are waiting; the queue holds ${details.limit}`)
    this.details = details
  }
}

/** The prompt leaves no room for a single token. Another try cannot help. */
export class ContextLengthExceededError extends Error {
  override readonly name = 'ContextLengthExceededError'
  readonly code = 'SCHEDULER_CONTEXT_LENGTH'
  readonly details: { readonly promptTokens: number, readonly maxModelLen: number }

  constructor (details: ContextLengthExceededError['details']) {
    super(`the prompt has ${details.promptTokens} tokens; the model's context is ${details.maxModelLen} tokens, prompt and output together`)
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

/** The engine process ended before it could answer anything. */
export class EngineStartError extends Error {
  override readonly name = 'EngineStartError'
  readonly code = 'ENGINE_START_FAILED'
  readonly details: { readonly engineCode: string }

  constructor (message: string, details: EngineStartError['details']) {
    super(message)
    this.details = details
  }
}
