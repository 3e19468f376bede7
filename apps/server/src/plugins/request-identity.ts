import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'

const validId = /^[A-Za-z0-9._:-]{1,128}$/
const printable = /^[\x20-\x7e]{1,512}$/

/** A client's own well-formed `x-request-id`, so that its logs and ours meet; else a new one. */
export function requestIdOf (request: IncomingMessage): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && validId.test(given) ? given : `req_${randomUUID().replaceAll('-', '')}`
}

/** Headers that name a request and its cost on every response, streams included. */
export function registerRequestIdentity (app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
    const clientId = request.headers['x-client-request-id']
    if (typeof clientId === 'string' && printable.test(clientId)) reply.header('x-client-request-id', clientId)
  })
  app.addHook('onSend', async (_request, reply) => {
    reply.header('openai-processing-ms', String(Math.round(reply.elapsedTime)))
  })
}
