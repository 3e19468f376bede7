import type { FastifyInstance } from 'fastify'
import type { Telemetry } from '../telemetry/telemetry.ts'

/** Counts and times every response. Streams count when they end, with a size of 0, as the length is nowhere stated. */
export function registerHttpMetrics (app: FastifyInstance, telemetry: Telemetry): void {
  app.addHook('onResponse', async (request, reply) => {
    telemetry.observeResponse({
      handler: request.routeOptions.url ?? 'none',
      method: request.method,
      status: reply.statusCode,
      seconds: reply.elapsedTime / 1000,
      requestBytes: length(request.headers['content-length']),
      responseBytes: length(reply.getHeader('content-length')),
    })
  })
}

function length (header: unknown): number {
  const bytes = Number(header ?? 0)
  return Number.isFinite(bytes) ? bytes : 0
}
