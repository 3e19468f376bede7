import type { FastifyInstance } from 'fastify'
import { ApiError } from '../errors.ts'
import type { GenerationEndpoint } from '../openai/generation-endpoint.ts'
import { errorResponses } from '../openai/response-schemas.ts'
import { originAllowed } from '../plugins/cors.ts'
import type { ServerContext } from '../server-context.ts'
import { serveGenerationSocket } from '../transport/generation-socket.ts'

/** The WebSocket at a generation endpoint's own path. */
export function registerGenerationSocket (app: FastifyInstance, endpoint: GenerationEndpoint, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: endpoint.path,
    exposeHeadRoute: false,
    schema: {
      summary: `${endpoint.summary}, over WebSocket`,
      description: 'Frames are JSON: send {"type":"request","id","body"} and {"type":"cancel","id"}; receive {"type":"chunk","id","data"}, {"type":"done","id"} and {"type":"error","id","error"}.',
      tags: ['generation'],
      response: { 101: { description: 'Switched to WebSocket', type: 'null' }, ...errorResponses },
    },
    preValidation: async request => {
      // Browsers let any page open a WebSocket anywhere: only the server can refuse.
      if (request.ws && !originAllowed(request, context.config.corsOrigins)) {
        throw new ApiError('origin_not_allowed', 'Pages of this origin may not connect.')
      }
    },
    handler: async (_request, reply) => {
      reply.header('allow', 'POST')
      throw new ApiError('method_not_allowed', 'GET here is for WebSocket; POST a request.')
    },
    wsHandler: (socket, request) => serveGenerationSocket(socket, endpoint, context, request.log),
  })
}
