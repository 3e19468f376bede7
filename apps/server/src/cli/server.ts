import type { EngineReport } from '@daybreak/engine'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { buildApp } from '../app.ts'
import type { EngineConfig, ListenConfig, LogConfig, ModelConfig, OperationConfig, QueueConfig, StorageConfig } from '../config.ts'
import { systemClock } from '../generation/clock.ts'
import type { EngineFailure } from '../generation/engine-lifecycle.ts'
import { EngineSupervisor } from '../generation/engine-supervisor.ts'
import type { EngineCapacity } from '../generation/generation-service.ts'
import { defaultRestartLimits } from '../generation/restart-policy.ts'
import type { HttpConfig, ServedModel } from '../http-config.ts'
import { kernelCacheFolder } from '../models/cache/index.ts'
import { resolveModel, textFolder } from '../models/index.ts'
import type { ModelSource } from '../models/index.ts'
import type { BatchQueue } from '../queue/index.ts'
import type { Storage } from '../storage/index.ts'
import { Telemetry } from '../telemetry/telemetry.ts'
import { openTextService } from '../text/index.ts'
import type { TextService } from '../text/index.ts'
import { banner } from './banner.ts'
import type { CommandContext } from './command-context.ts'
import { createDownloadDisplay } from './download-progress.ts'
import { engineProcessConfig } from './engine-options.ts'
import { listenFailure } from './listen-failure.ts'
import { createProgressDisplay } from './load-progress.ts'
import type { ProgressDisplay } from './load-progress.ts'
import { createLogger } from './logger.ts'
import { openServerQueue } from './server-queue.ts'
import { openServerStorage } from './server-storage.ts'
import { settledWithin } from './settled-within.ts'

/** Engine processes that one request may see die. */
const MAX_CRASHES_PER_REQUEST = 3
/** Time for freeing the device; the system frees it for a process that is killed, too. */
const EXIT_TIMEOUT_MS = 3_000
/** Time for the last bytes to reach their readers once everything has been generated or aborted. */
const CLOSING_TIMEOUT_MS = 5_000

export interface ServeSettings {
  readonly listen: ListenConfig
  readonly model: ModelConfig
  readonly engine: EngineConfig
  readonly operation: OperationConfig
  readonly http: HttpConfig
  readonly storage: StorageConfig
  readonly queue: QueueConfig
  readonly log: LogConfig
}

export interface ServeEnvironment {
  /** The module the engine process runs. */
  readonly engineEntry: URL
  /** Node's own flags for it. */
  readonly execArgv: readonly string[]
}

interface ServerParts {
  readonly settings: ServeSettings
  readonly context: CommandContext
  readonly logger: Logger
  readonly progress: ProgressDisplay
  readonly model: ServedModel
  readonly text: TextService
  /** Undefined: another server has it. */
  readonly storage: Storage | undefined
  /** Undefined: batches are answered here alone. */
  readonly queue: BatchQueue | undefined
}

/** The whole program of `daybreak serve`: the HTTP surface over a supervised engine process, from opening to exit. */
export class Server {
  readonly #settings: ServeSettings
  readonly #context: CommandContext
  readonly #logger: Logger
  readonly #progress: ProgressDisplay
  readonly #model: ServedModel
  readonly #text: TextService
  readonly #supervisor: EngineSupervisor
  readonly #storage: Storage | undefined
  readonly #queue: BatchQueue | undefined
  readonly #app: FastifyInstance
  #address = ''
  #listeningSince = 0
  #warmedUp: Promise<void> = Promise.resolve()
  #isStopping = false

  private constructor (parts: ServerParts, source: ModelSource, environment: ServeEnvironment) {
    this.#settings = parts.settings
    this.#context = parts.context
    this.#logger = parts.logger
    this.#progress = parts.progress
    this.#model = parts.model
    this.#text = parts.text
    this.#storage = parts.storage
    this.#queue = parts.queue
    const { model, engine, operation, http, log } = parts.settings
    this.#supervisor = new EngineSupervisor({
      entry: environment.engineEntry,
      execArgv: environment.execArgv,
      config: engineProcessConfig(model, engine, source, log.logLevel, kernelCacheFolder(parts.context.env)),
      queue: { maxRequests: operation.maxQueuedRequests, maxTokens: operation.maxQueuedTokens },
      stallTimeoutMs: operation.stallTimeoutSeconds * 1000,
      loadTimeoutMs: operation.loadTimeoutSeconds * 1000,
      exitTimeoutMs: EXIT_TIMEOUT_MS,
      maxCrashesPerRequest: MAX_CRASHES_PER_REQUEST,
      restart: defaultRestartLimits,
      clock: systemClock,
      logger: this.#logger
    }, {
      onProgress: progress => this.#progress.update(progress),
      onReady: (capacity, report) => {
        this.#progress.stop()
        const { numRestarts, enginePid } = this.#supervisor
        this.#logger.info({ event: 'engine-ready', enginePid })
        if (numRestarts > 0) this.#logger.warn({ event: 'engine-restarted', restarts: numRestarts })
        else this.#announce(capacity, report)
      },
      onRestart: numReplayed => this.#logger.warn({ event: 'requests-replayed', numReplayed }),
      onFailed: failure => this.#failed(failure)
    })
    const telemetry = new Telemetry({ generation: this.#supervisor, modelName: this.#model.id, cacheSeconds: http.metricsCacheSeconds, queue: this.#queue })
    this.#app = buildApp({ config: http, generation: this.#supervisor, text: this.#text, model: this.#model, logger: this.#logger, telemetry, storage: this.#storage, queue: this.#queue })
  }

  /**
   * Downloads the model if need be, reads its tokenizer and builds everything; nothing runs yet.
   * @param signal ends a download
   * @throws ModelNotFoundError, HubError and whatever else the model's files give reason for, QueueUnreachableError (rejects)
   */
  static async open (settings: ServeSettings, context: CommandContext, environment: ServeEnvironment, signal: AbortSignal): Promise<Server> {
    const logger = createLogger(settings.log.logLevel, settings.log.logFormat, context.stderr)
    // First: a download would be in vain.
    const queue = await openServerQueue(settings.queue, logger)
    const download = createDownloadDisplay(context.stderr, logger)
    const { id, source } = await resolveModel(settings.model.model, { env: context.env, progress: download, signal })
    const ownName = settings.model.synthetic ?? id
    const [servedName = ownName] = settings.http.servedModelNames
    return new Server({
      settings,
      context,
      logger,
      progress: createProgressDisplay(context.stderr, logger),
      model: { id: servedName, created: Math.floor(Date.now() / 1000), ownedBy: 'daybreak', aliases: [ownName] },
      text: await openTextService(await textFolder(source, context.env), { specialTokensInMessages: settings.http.specialTokensInMessages }),
      storage: await openServerStorage(settings.storage.dataDir, context.env, logger),
      queue
    }, source, environment)
  }

  /**
   * Listens, then loads: probes are answered from the first moment.
   * @throws AddressError when the address cannot be had (rejects)
   */
  async listen (): Promise<void> {
    const { host, port } = this.#settings.listen
    try {
      this.#address = await this.#app.listen({ host, port, listenTextResolver: address => `listening at ${address}` })
    } catch (error) {
      await this.#text.close()
      await this.#storage?.[Symbol.asyncDispose]()
      await this.#queue?.[Symbol.asyncDispose]()
      throw error instanceof Error ? listenFailure(error, host, port) : error
    }
    this.#listeningSince = systemClock.now()
    this.#supervisor.start()
    // Beside the engine's loading, which takes longer; the server is ready when both are done.
    this.#warmedUp = this.#text.warmUp()
    this.#warmedUp.catch((err: unknown) => {
      this.#logger.fatal({ event: 'text-failed', err })
      this.#end(`the worker for long texts does not start: ${causeOf(err)}`)
    })
  }

  /** Takes no more requests, lets the unfinished ones go on up to the deadline, and ends everything. */
  async stop (): Promise<void> {
    this.#isStopping = true
    this.#progress.stop()
    const { drainTimeoutSeconds } = this.#settings.operation
    this.#logger.info({ event: 'draining', deadlineSeconds: drainTimeoutSeconds })
    const answered = this.#app.drain()
    const inTime = await settledWithin(answered, drainTimeoutSeconds * 1000)
    if (!inTime) this.#logger.warn({ event: 'drain-deadline-passed' })
    await this.#supervisor.drain(0)
    await settledWithin(answered, CLOSING_TIMEOUT_MS)
    await settledWithin(this.#app.close(), CLOSING_TIMEOUT_MS)
    await this.#text.close()
    await this.#storage?.[Symbol.asyncDispose]()
    await this.#queue?.[Symbol.asyncDispose]()
    this.#logger.info({ event: 'stopped' })
  }

  #announce (capacity: EngineCapacity, report: EngineReport): void {
    this.#warmedUp.then(() => {
      if (this.#isStopping) return
      this.#context.stdout.write(banner({ model: this.#model.id, address: this.#address, capacity, report, readySeconds: this.#secondsSinceListening() }))
    }, () => {})
  }

  #secondsSinceListening (): number { return (systemClock.now() - this.#listeningSince) / 1000 }

  #failed (failure: EngineFailure): void {
    this.#logger.fatal({ event: 'engine-failed', ...failure })
    this.#end(failure.message)
  }

  /** A server that can never answer again is better replaced than kept. */
  #end (message: string): void {
    this.#progress.stop()
    this.#context.stderr.write(`daybreak: ${message}\n`)
    settledWithin(this.#app.drain().then(async () => await this.#app.close()), CLOSING_TIMEOUT_MS)
      .then(() => this.#context.exit(1), () => this.#context.exit(1))
  }
}

/** An error that wraps another says less than that one. */
function causeOf (error: unknown): string {
  const cause = error instanceof Error ? error.cause ?? error : error
  return cause instanceof Error ? cause.message : String(cause)
}
