import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import packageJson from '../../package.json' with { type: 'json' }
import { healthSchema, jsonSchema } from '../openai/response-schemas.ts'
import type { ServerContext } from '../server-context.ts'

/** What operators and orchestrators ask. None of it queues work: a probe must not wait behind a long prefill, nor add to it. */
export function registerOperations (app: FastifyInstance, { generation, text, telemetry, drain }: ServerContext): void {
  const tags = ['operations']
  const health = { 200: jsonSchema(healthSchema), 503: { description: 'Not so', ...jsonSchema(healthSchema) } }

  // Liveness: whether a restart would help. Loading, recovering and draining are progress of their own.
  app.get('/health', { schema: { summary: 'Whether the engine makes progress', tags, response: health } }, async (_request, reply) => {
    const status = generation.state === 'failed' ? 'failed' : generation.progressing ? 'ok' : 'stalled'
    return reply.code(status === 'ok' ? 200 : 503).send({ status })
  })

  app.get('/ready', { schema: { summary: 'Whether requests are taken', tags, response: health } }, async (_request, reply) => {
    const state = drain.draining ? 'draining' : generation.state
    const status = state !== 'ready' ? state : !generation.progressing ? 'stalled' : text.isWarmingUp ? 'loading' : state
    return reply.code(status === 'ready' ? 200 : 503).send({ status })
  })

  app.get('/version', {
    schema: { summary: 'The server\'s version', tags, response: { 200: jsonSchema(z.object({ version: z.string() })) } },
  }, async () => ({ version: packageJson.version }))

  app.get('/metrics', {
    schema: { summary: 'Metrics as Prometheus text', tags, produces: ['text/plain'], response: { 200: { description: 'Prometheus text format 0.0.4', type: 'string' } } },
  }, async (_request, reply) => reply.type(telemetry.contentType).send(await telemetry.render()))

  app.get('/openapi.json', {
    schema: { summary: 'This document', tags, response: { 200: { description: 'OpenAPI 3.1', type: 'object' } } },
  }, async () => app.swagger())
}
