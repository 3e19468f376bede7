import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Telemetry } from '../telemetry/telemetry.ts'

/** nginx's status for a client that left before its answer: the one set so far was never sent. */
const CLIENT_LEFT = 499

/** Counts and times every response, also one that was cut short. Streams count when they end, with a size of 0, as the length is nowhere stated. */
export function registerHttpMetrics (app: FastifyInstance, telemetry: Telemetry): void {
  const observe = (request: FastifyRequest, reply: FastifyReply, status: number): void => {
    telemetry.observeResponse({
      handler: request.routeOptions.url ?? 'none',
      method: request.method,
      status,
      seconds: reply.elapsedTime / 1000,
      requestBytes: length(request.headers['content-length']),
      responseBytes: length(reply.getHeader('content-length')),
    })
  }
  app.addHook('onResponse', async (request, reply) => observe(request, reply, reply.statusCode))
  app.addHook('onRequest', async (request, reply) => {
    const { raw } = reply
    let finished = false
    raw.once('finish', () => { finished = true })
    // Fastify calls onResponse for finished responses only.
    raw.once('close', () => {
      if (finished) return
      if (raw.headersSent) observe(request, reply, raw.statusCode)
      // A WebSocket has no response, and its close is none either.
      else if (!request.ws) observe(request, reply, CLIENT_LEFT)
    })
  })
}

function length (header: unknown): number {
  const bytes = Number(header ?? 0)
  return Number.isFinite(bytes) ? bytes : 0
}
