import type { Server } from 'node:http'
import { isIP } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'

/**
 * Whether a page may call the server: one of an allowed origin, or the server's own. Requests without an origin come from no page.
 * On a loopback address its own is one with a local name only. Any other name leads there because somebody's name server says so,
 * and then that page would count as ours (DNS rebinding).
 */
export function originAllowed ({ headers, server }: Pick<FastifyRequest, 'headers' | 'server'>, allowed: readonly string[]): boolean {
  const { origin, host } = headers
  if (origin === undefined || allowed.includes('*') || allowed.includes(origin)) return true
  if (host === undefined || (origin !== `http://${host}` && origin !== `https://${host}`)) return false
  return !listensOnLoopback(server.server) || isLocalName(host)
}

/** Cross-origin headers for the allowed origins; without any, browsers keep other origins' pages out by themselves. */
export function registerCors (app: FastifyInstance, allowed: readonly string[]): void {
  // After every onRequest hook: one of them makes sure that a refused WebSocket's connection is closed.
  app.addHook('preParsing', async request => {
    const { origin, host } = request.headers
    // Browsers see this one as the server's own page, so they would not keep it out.
    const claimsToBeOurs = origin !== undefined && host !== undefined && origin.endsWith(`://${host}`)
    if (claimsToBeOurs && !originAllowed(request, allowed)) throw new ApiError('origin_not_allowed', 'Pages of this origin may not use this server.')
  })
  if (allowed.length === 0) return
  app.addHook('onRequest', async (request, reply) => {
    const { origin } = request.headers
    reply.header('vary', 'Origin')
    if (origin === undefined || !(allowed.includes('*') || allowed.includes(origin))) return
    reply.header('access-control-allow-origin', origin)
    reply.header('access-control-expose-headers', 'x-request-id, retry-after, openai-processing-ms')
    if (request.method !== 'OPTIONS') return
    reply.header('access-control-allow-methods', 'GET, POST, OPTIONS')
    reply.header('access-control-allow-headers', request.headers['access-control-request-headers'] ?? 'authorization, content-type')
    return reply.code(204).send()
  })
}

function listensOnLoopback (server: Server): boolean {
  const address = server.address()
  return typeof address === 'object' && address !== null && (address.address === '::1' || address.address.startsWith('127.'))
}

/** `localhost`, a name below it, or an address as such: no name server has a say in these. */
function isLocalName (host: string): boolean {
  const name = host.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1').toLowerCase()
  return name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0
}
