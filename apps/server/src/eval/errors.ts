/** A question could not be asked: the rate would be of something else, so the evaluation ends. */
export class EvalRequestError extends Error {
  override readonly name = 'EvalRequestError'
  readonly code = 'EVAL_REQUEST_FAILED'
  readonly details: { readonly reason: string; readonly promptTokens: number; readonly status?: number }

  constructor (details: EvalRequestError['details'], options?: ErrorOptions) {
    super(`a prompt of ${details.promptTokens} tokens was not answered: ${details.reason}`, options)
    this.details = details
  }
}

/** Asked for a task that there is not. */
export class UnknownTaskError extends Error {
  override readonly name = 'UnknownTaskError'
  readonly code = 'EVAL_UNKNOWN_TASK'
  readonly details: { readonly task: string; readonly known: readonly string[] }

  constructor (details: UnknownTaskError['details']) {
    super(`there is no task ${details.task}; there are ${details.known.join(', ')}`)
    this.details = details
  }
}
