import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import swagger from '@fastify/swagger'
import websocket from '@fastify/websocket'
import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { BatchProcessor, LineRunner } from './batches/index.ts'
import type { BatchStore } from './batches/index.ts'
import { toApiError } from './errors.ts'
import type { FileStore } from './files/index.ts'
import type { GenerationService } from './generation/generation-service.ts'
import type { HttpConfig, ServedModel } from './http-config.ts'
import { generationEndpoints } from './openai/generation-endpoint.ts'
import { ModelNames } from './openai/model-names.ts'
import { connectionErrorHandler, refuseSlowRequest } from './plugins/connection-errors.ts'
import { registerCors } from './plugins/cors.ts'
import { Drain, registerDrain } from './plugins/drain.ts'
import { registerErrorHandler, sendError } from './plugins/error-handler.ts'
import { registerHttpMetrics } from './plugins/http-metrics.ts'
import { LEAST_BYTES_PER_SECOND, receiveTimeout } from './plugins/receive-timeout.ts'
import { registerRequestIdentity, requestIdOf } from './plugins/request-identity.ts'
import type { BatchQueue } from './queue/index.ts'
import { registerBatches } from './routes/batches.ts'
import { registerFiles } from './routes/files.ts'
import { registerGenerationSocket } from './routes/generation-socket.ts'
import { registerGeneration } from './routes/generation.ts'
import { registerModels } from './routes/models.ts'
import { registerOperations } from './routes/operations.ts'
import { registerTokenize } from './routes/tokenize.ts'
import type { ServerContext } from './server-context.ts'
import { backgroundObserver } from './telemetry/background-observer.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { TextService } from './text/text-service.ts'
import { ActiveRequests } from './transport/active-requests.ts'
import { IncomingRequest } from './transport/incoming-request.ts'
import { KeepAlive } from './transport/keep-alive.ts'

/** Between looks for files that have expired. */
const SWEEP_MS = 60_000
/** Node takes time limits as 32-bit integers. */
const MAX_NODE_MS = 2 ** 31 - 1

export interface AppOptions {
  readonly config: HttpConfig
  readonly generation: GenerationService
  readonly text: TextService
  readonly model: ServedModel
  readonly logger: FastifyBaseLogger
  readonly telemetry: Telemetry
  /** Undefined: no files and no batches are taken. */
  readonly storage?: AppStorage | undefined
  /** Undefined: batches are answered here, and no others'. */
  readonly queue?: BatchQueue | undefined
}

/** What outlives a process; whoever opened it has it alone. */
export interface AppStorage {
  readonly files: FileStore
  readonly batches: BatchStore
  /** Aborts when it belongs to somebody else from now on: batches stop. Default: it never does. */
  readonly lost?: AbortSignal | undefined
}

/**
 * The whole HTTP and WebSocket surface over a generation service. Never listens, and owns neither the services nor the
 * telemetry: whoever made them closes them, after `app.close()`. See `drain` for an orderly end.
 */
export function buildApp ({ config, generation, text, model, logger, telemetry, storage, queue }: AppOptions): FastifyInstance {
  const app = newFastify(config, logger, telemetry)
  const drain = new Drain()
  const active = new ActiveRequests()
  const context: ServerContext = {
    config,
    generation,
    text,
    model,
    telemetry,
    active,
    drain,
    names: new ModelNames(model, config.servedModelNames),
    keepAlive: new KeepAlive(config.keepAliveSeconds * 1000, () => performance.now()),
  }

  registerRequestIdentity(app)
  registerErrorHandler(app, telemetry)
  registerHttpMetrics(app, telemetry)
  registerCors(app, config.corsOrigins)
  registerDrain(app, drain, active)
  app.register(websocket, {
    options: { maxPayload: config.socketFrameLimitBytes, perMessageDeflate: false },
    // Sockets close themselves when the drain begins; the plugin's own way would say 1005.
    preClose: done => done(),
  })
  app.register(swagger, {
    openapi: { openapi: '3.1.0', info: { title: 'Daybreak', version: '1', description: 'OpenAI-compatible text generation' } },
    transform: ({ schema, url }) => ({ schema, url: url.replace('*', ':model') }),
  })
  app.register(async scope => {
    const endpoints = generationEndpoints(context)
    for (const endpoint of endpoints) {
      registerGeneration(scope, endpoint, context)
      registerGenerationSocket(scope, endpoint, context)
    }
    const runner = new LineRunner({ endpoints, generation, text, observer: backgroundObserver(telemetry), sleep: pause })
    if (storage !== undefined) registerStorage(scope, storage, runner, context, logger, queue)
    if (queue !== undefined) registerQueueWorker(scope, queue, runner, context, logger)
    registerModels(scope, context)
    registerTokenize(scope, context)
    registerOperations(scope, context)
  })
  return app
}

async function pause (ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal })
}

function registerStorage (app: FastifyInstance, { files, batches, lost }: AppStorage, runner: LineRunner, { config, drain, names }: ServerContext, logger: FastifyBaseLogger, queue: BatchQueue | undefined): void {
  const processor = new BatchProcessor({
    batches,
    files,
    runner,
    shared: queue?.answering(names.all),
    maxRunning: config.maxRunningBatches,
    limits: { maxLines: config.maxBatchLines, maxLineBytes: config.bodyLimitBytes, maxTokensTogether: config.batchGroupTokens },
    now: unixSeconds,
    sleep: pause,
    logger
  })
  registerFiles(app, { store: files, maxFileBytes: config.maxFileBytes })
  registerBatches(app, { batches, files, processor, endpoints: runner.endpoints })
  const sweeping = setInterval(() => { files.sweep().catch((error: unknown) => logger.error({ err: error, event: 'file-sweep-failed' })) }, SWEEP_MS).unref()
  const stop = (): void => { processor.stop().catch((error: unknown) => logger.error({ err: error, event: 'batch-stop-failed' })) }
  drain.onDrain(stop)
  lost?.addEventListener('abort', () => {
    logger.error({ err: lost.reason as unknown, event: 'storage-lost' }, 'batches stop: another process has taken over their folder')
    stop()
  }, { once: true })
  app.addHook('onReady', async () => { processor.start() })
  app.addHook('preClose', async () => {
    clearInterval(sweeping)
    await processor.stop()
  })
}

/** Needs no storage of this server: a batch's files are its owner's. */
function registerQueueWorker (app: FastifyInstance, queue: BatchQueue, runner: LineRunner, { drain, names }: ServerContext, logger: FastifyBaseLogger): void {
  const worker = queue.worker(runner, names.all)
  drain.onDrain(() => { worker.stop().catch((error: unknown) => logger.error({ err: error, event: 'queue-stop-failed' })) })
  app.addHook('onReady', async () => { worker.start() })
  app.addHook('preClose', async () => { await worker.stop() })
}

function unixSeconds (): number {
  return Math.floor(Date.now() / 1000)
}

function newFastify (config: HttpConfig, logger: FastifyBaseLogger, telemetry: Telemetry): FastifyInstance {
  const receiveMs = Math.ceil(config.receiveTimeoutSeconds * 1000)
  // What `watchBody` does not see, such as what Node answers itself, ends when the longest upload would have.
  const longestReceiveMs = Math.min(MAX_NODE_MS, 2 * receiveMs + Math.ceil(1000 * config.maxFileBytes / LEAST_BYTES_PER_SECOND))
  const watchBody = receiveTimeout(receiveMs, socket => { refuseSlowRequest(socket, telemetry) })
  const app = Fastify({
    loggerInstance: logger,
    // One line per generation, written when it ends; see ClientRequest.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    genReqId: requestIdOf,
    bodyLimit: config.bodyLimitBytes,
    requestTimeout: longestReceiveMs,
    keepAliveTimeout: config.idleConnectionSeconds * 1000,
    http: { maxHeaderSize: config.headerLimitBytes, IncomingMessage: IncomingRequest, headersTimeout: receiveMs, requestTimeout: longestReceiveMs },
    // Model names may be long paths.
    routerOptions: { maxParamLength: 512 },
    // Requests that arrive while closing get our own 503.
    return503OnClosing: false,
    clientErrorHandler: connectionErrorHandler(telemetry),
    // What the router refuses before any hook, such as `/%E0%A4%A`.
    frameworkErrors: (error, request, reply) => {
      watchBody(request.raw)
      sendError(reply, toApiError(error), telemetry)
    },
  })
  app.addHook('onRequest', (request, _reply, done) => {
    watchBody(request.raw)
    done()
  })
  app.removeContentTypeParser('text/plain')
  // Requests are checked by zod where they are used; route schemas only describe them in the OpenAPI document.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => JSON.stringify)
  return app
}
