import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ApiError, toApiError } from '../errors.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

/** Every failure leaves as OpenAI's error object; what went wrong inside is for the log only. */
export function registerErrorHandler (app: FastifyInstance, telemetry: Telemetry): void {
  const paths: Array<{ readonly matches: (path: string) => boolean, readonly method: string }> = []
  app.addHook('onRoute', ({ url, method }) => {
    const matches = pathMatcher(url)
    for (const one of Array.isArray(method) ? method : [method]) paths.push({ matches, method: one })
  })

  app.setErrorHandler(async (thrown, request, reply) => {
    const error = toApiError(thrown)
    logFailure(error, request)
    return sendError(reply, error, telemetry)
  })

  app.setNotFoundHandler(async (request, reply) => {
    // Not parsed as a URL: what asks for nothing known may well not be one.
    const path = request.url.split('?', 1)[0] ?? ''
    const allowed = [...new Set(paths.filter(({ matches }) => matches(path)).map(({ method }) => method))]
    if (allowed.length > 0) reply.header('allow', allowed.join(', '))
    const asked = `${request.method} ${path.slice(0, 256)}`
    return sendError(reply, allowed.length > 0
      ? new ApiError('method_not_allowed', `Not allowed to ${asked}; allowed: ${allowed.join(', ')}.`)
      : new ApiError('not_found', `Unknown request URL: ${asked}.`), telemetry)
  })
}

export function sendError (reply: FastifyReply, error: ApiError, telemetry: Telemetry): FastifyReply {
  telemetry.requestRejected(error.code)
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.retryAfterSeconds))
  if (error.shape.retry === false) reply.header('x-should-retry', 'false')
  return reply.code(error.shape.status).type('application/json; charset=utf-8').send(JSON.stringify(error.body))
}

export function logFailure (error: ApiError, request: Pick<FastifyRequest, 'log'>): void {
  if (error.shape.status >= 500) request.log.error({ err: error, event: 'request-failed', code: error.code }, 'request failed')
  else request.log.info({ event: 'request-refused', code: error.code, param: error.param }, 'request refused')
}

function pathMatcher (url: string): (path: string) => boolean {
  if (!url.includes('*')) return path => path === url
  const prefix = url.slice(0, url.indexOf('*'))
  return path => path.startsWith(prefix) && path.length > prefix.length
}
