/**
 * Every way a request can fail, and what the client reads: OpenAI's error object with the status its SDKs act on.
 * This is the only place that knows both our error codes and HTTP.
 */

export type ErrorType = 'invalid_request_error' | 'rate_limit_error' | 'server_error' | 'service_unavailable_error'

export interface OpenAIErrorShape {
  readonly status: number
  readonly type: ErrorType
  /** Sent as `x-should-retry`: the SDKs retry 429 and every 5xx on their own, so only a deterministic 5xx needs it. */
  readonly retry?: false
}

export type ErrorCode =
  | 'invalid_json' | 'invalid_type' | 'invalid_value' | 'missing_required_parameter' | 'unknown_parameter'
  | 'unsupported_parameter' | 'context_length_exceeded' | 'chat_template_error'
  | 'malformed_request' | 'headers_too_large' | 'receive_timeout' | 'origin_not_allowed' | 'model_not_found' | 'not_found' | 'method_not_allowed' | 'unsupported_media_type' | 'request_too_large'
  | 'duplicate_id' | 'storage_full' | 'rate_limit_exceeded' | 'service_unavailable' | 'generation_timeout' | 'engine_crashed' | 'internal_error'

const invalid = (status: number) => ({ status, type: 'invalid_request_error' }) as const

export const errorShapes = {
  invalid_json: invalid(400),
  invalid_type: invalid(400),
  invalid_value: invalid(400),
  missing_required_parameter: invalid(400),
  unknown_parameter: invalid(400),
  unsupported_parameter: invalid(400),
  context_length_exceeded: invalid(400),
  chat_template_error: invalid(400),
  malformed_request: invalid(400),
  headers_too_large: invalid(431),
  receive_timeout: invalid(408),
  origin_not_allowed: invalid(403),
  model_not_found: invalid(404),
  not_found: invalid(404),
  method_not_allowed: invalid(405),
  unsupported_media_type: invalid(415),
  request_too_large: invalid(413),
  duplicate_id: invalid(409),
  // The disk is as full a moment later.
  storage_full: { status: 507, type: 'server_error', retry: false },
  rate_limit_exceeded: { status: 429, type: 'rate_limit_error' },
  service_unavailable: { status: 503, type: 'service_unavailable_error' },
  // The same request would run into the same deadline again.
  generation_timeout: { status: 504, type: 'server_error', retry: false },
  // The same request would most likely end the engine again, and everybody's generations with it.
  engine_crashed: { status: 500, type: 'server_error', retry: false },
  internal_error: { status: 500, type: 'server_error' },
} as const satisfies Record<ErrorCode, OpenAIErrorShape>

export interface OpenAIErrorBody {
  readonly error: {
    readonly message: string
    readonly type: ErrorType
    readonly param: string | null
    readonly code: ErrorCode
  }
}

/** An error whose message is meant for the client. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: ErrorCode
  readonly param: string | null
  /** Whole seconds for `retry-after`; only with 429 and 503. */
  readonly retryAfterSeconds: number | undefined

  constructor (code: ErrorCode, message: string, options: { readonly param?: string, readonly retryAfterSeconds?: number, readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.param = options.param ?? null
    this.retryAfterSeconds = options.retryAfterSeconds ?? (retryAfterDefaults[code])
  }

  get shape (): OpenAIErrorShape { return errorShapes[this.code] }

  get body (): OpenAIErrorBody {
    return { error: { message: this.message, type: this.shape.type, param: this.param, code: this.code } }
  }
}

/** Short enough that the SDKs' own retries (two, honouring up to 60 s) still land. */
const retryAfterDefaults: Partial<Record<ErrorCode, number>> = { rate_limit_exceeded: 1, service_unavailable: 2 }

/** The bounded queue has no room for this request: try again later. */
export class QueueFullError extends Error {
  override readonly name = 'QueueFullError'
  readonly code = 'SERVER_QUEUE_FULL'
  readonly details: { readonly numWaiting: number, readonly limit: number, readonly retryAfterSeconds?: number }
  constructor (details: QueueFullError['details'], options?: ErrorOptions) {
    super(`${details.numWaiting} requests are waiting; the queue holds ${details.limit}`, options)
    this.details = details
  }
}

/** Nothing can be generated now: the engine is loading, draining or has failed. */
export class ServiceUnavailableError extends Error {
  override readonly name = 'ServiceUnavailableError'
  readonly code = 'SERVER_UNAVAILABLE'
  readonly details: { readonly state: string, readonly retryAfterSeconds?: number }
  constructor (details: ServiceUnavailableError['details'], options?: ErrorOptions) {
    super(`the engine is ${details.state}`, options)
    this.details = details
  }
}

/** The codes of other rooms' errors, and of Fastify's, that mean something to a client; every other error is internal. */
const foreignCodes: ReadonlyMap<string, ErrorCode> = new Map([
  ['SERVER_QUEUE_FULL', 'rate_limit_exceeded'],
  ['SERVER_UNAVAILABLE', 'service_unavailable'],
  ['SCHEDULER_CONTEXT_LENGTH', 'context_length_exceeded'],
  ['ENGINE_CRASHED_BY_REQUEST', 'engine_crashed'],
  ['ENGINE_FAILED', 'service_unavailable'],
  // The scheduler's own (packages/scheduler/src/errors.ts), which arrive with a failed choice.
  ['queue_full', 'rate_limit_exceeded'],
  ['context_length_exceeded', 'context_length_exceeded'],
  ['kv_capacity_exceeded', 'context_length_exceeded'],
  ['invalid_request', 'invalid_value'],
  ['kv_cache_exhausted', 'service_unavailable'],
  ['scheduler_stopped', 'service_unavailable'],
  ['TEXT_CHAT_TEMPLATE', 'chat_template_error'],
  ['TEXT_TOO_LONG', 'context_length_exceeded'],
  ['TEXT_BUSY', 'service_unavailable'],
  ['FILE_TOO_LARGE', 'request_too_large'],
  ['STORAGE_FULL', 'storage_full'],
  ['FST_PARTS_LIMIT', 'invalid_value'],
  ['FST_FILES_LIMIT', 'invalid_value'],
  ['FST_FIELDS_LIMIT', 'invalid_value'],
  ['FST_PROTO_VIOLATION', 'unknown_parameter'],
  ['FST_INVALID_MULTIPART_CONTENT_TYPE', 'unsupported_media_type'],
  ['FST_MP_PREMATURE_CLOSE', 'malformed_request'],
  ['FST_ERR_CTP_INVALID_JSON_BODY', 'invalid_json'],
  ['FST_ERR_CTP_EMPTY_JSON_BODY', 'invalid_json'],
  ['FST_ERR_CTP_INVALID_CONTENT_LENGTH', 'invalid_value'],
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'unsupported_media_type'],
  ['FST_ERR_CTP_BODY_TOO_LARGE', 'request_too_large'],
  ['FST_ERR_BAD_URL', 'not_found'],
])

/** What a client may be told in place of another room's own words. */
const clientMessages: Partial<Record<ErrorCode, string>> = {
  invalid_json: 'We could not parse the JSON body of your request.',
  unsupported_media_type: 'The request body must be JSON, with content-type: application/json.',
  internal_error: 'The server had an error while processing your request.',
}

/** Any thrown value as something a client may read; the unknown becomes a generic 500 that keeps its `cause` for the log. */
export function toApiError (error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (!(error instanceof Error)) return new ApiError('internal_error', clientMessages.internal_error ?? '', { cause: error })
  const code = 'code' in error && typeof error.code === 'string' ? foreignCodes.get(error.code) : undefined
  const known = code ?? (error instanceof SyntaxError && 'statusCode' in error ? 'invalid_json' : 'internal_error')
  const retryAfterSeconds = retryAfterOf(error)
  return new ApiError(known, clientMessages[known] ?? error.message, { cause: error, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) })
}

function retryAfterOf (error: Error): number | undefined {
  if (!('details' in error) || typeof error.details !== 'object' || error.details === null) return undefined
  const { details } = error
  return 'retryAfterSeconds' in details && typeof details.retryAfterSeconds === 'number' ? details.retryAfterSeconds : undefined
}

/** A failed choice's error, as the engine process reports it: known codes keep their words, others are internal. */
export function fromEngineError (error: { readonly code: string, readonly message: string } | undefined): ApiError {
  const known = error === undefined ? undefined : foreignCodes.get(error.code)
  if (error === undefined || known === undefined) {
    return new ApiError('internal_error', 'The engine failed while generating.', { cause: error })
  }
  return new ApiError(known, error.message, { cause: error })
}
