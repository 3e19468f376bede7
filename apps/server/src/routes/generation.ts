import { performance } from 'node:perf_hooks'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { logFailure } from '../plugins/error-handler.ts'
import type { GenerationEndpoint } from '../openai/generation-endpoint.ts'
import { noOutput } from '../openai/generation-output.ts'
import type { GenerationPlan } from '../openai/generation-plan.ts'
import { completionResponseSchema, errorResponses, jsonSchema } from '../openai/response-schemas.ts'
import type { ServerContext } from '../server-context.ts'
import { monotonicSeconds } from '../telemetry/monotonic-seconds.ts'
import { cutUnlessTaken } from '../transport/last-bytes.ts'
import { ServerSentEvents } from '../transport/server-sent-events.ts'
import { ClientRequest } from '../transport/client-request.ts'
import { ReaderPressure } from '../transport/reader-pressure.ts'

/** POST of a generation: one JSON object, or a stream of events. */
export function registerGeneration (app: FastifyInstance, endpoint: GenerationEndpoint, context: ServerContext): void {
  app.post(endpoint.path, {
    schema: {
      summary: endpoint.summary,
      tags: ['generation'],
      body: jsonSchema(endpoint.requestSchema),
      response: {
        200: {
          description: 'The answer, whole or as its chunks',
          content: {
            'application/json': { schema: jsonSchema(completionResponseSchema) },
            'text/event-stream': { schema: { type: 'string', description: 'Events of chunks, then [DONE]' } },
          },
        },
        ...errorResponses,
      },
    },
  }, async (request, reply) => {
    const generation = new ClientRequest({
      context, endpoint, body: request.body, log: request.log, arrivedAt: monotonicSeconds() - reply.elapsedTime / 1000,
    })
    // In every phase: while tokenising, queued, prefilling and decoding; streamed or not. The connection is asked, because the
    // response to a pipelined request, which has to wait for the one before it, never hears that its client left.
    const { socket } = request.raw
    const left = (): void => { if (!reply.raw.writableFinished) generation.abort('disconnect') }
    socket.once('close', left)
    try {
      const plan = await generation.plan()
      if (generation.abandoned) return reply.hijack()
      return await (plan.stream ? stream : whole)(plan, generation, request, reply, context)
    } finally {
      socket.off('close', left)
      generation.close()
    }
  })
}

async function whole (plan: GenerationPlan, generation: ClientRequest, _request: FastifyRequest, reply: FastifyReply, { config }: ServerContext): Promise<FastifyReply> {
  const run = generation.start(plan, noOutput)
  await run.finished()
  if (run.error !== undefined) throw run.error
  // The client has gone: there is nobody to send to.
  if (run.aborted) return reply.hijack()
  cutUnlessTaken(reply.raw, config.slowReaderSeconds * 1000)
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(run.whole()))
}

async function stream (plan: GenerationPlan, generation: ClientRequest, request: FastifyRequest, reply: FastifyReply, { config, telemetry, keepAlive }: ServerContext): Promise<FastifyReply> {
  const pressure = new ReaderPressure({
    limitBytes: config.slowReaderBytes,
    patienceMs: config.slowReaderSeconds * 1000,
    pause () {
      telemetry.readerPaused()
      generation.pause()
    },
    resume: () => generation.resume(),
    giveUp () {
      generation.abort('slow_reader')
      reply.raw.destroy()
    },
  })
  const events = new ServerSentEvents({
    response: reply.raw, keepAlive, pressure, onKeepAlive: () => telemetry.keepAliveSent(), now: () => performance.now(), patienceMs: config.slowReaderSeconds * 1000,
  })
  // Throws while an ordinary error response is still possible.
  const run = generation.start(plan, events)
  reply.header('openai-processing-ms', String(Math.round(reply.elapsedTime)))
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) reply.raw.setHeader(name, value)
  reply.hijack()
  events.open()
  await run.finished()
  if (run.error !== undefined) {
    telemetry.requestRejected(run.error.code)
    logFailure(run.error, request)
  }
  return reply
}
