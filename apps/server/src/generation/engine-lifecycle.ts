import type { EngineReport, LoadProgress } from '@daybreak/engine'
import type { Logger } from 'pino'
import type { ChildMessage, EngineProcessConfig, ParentMessage } from '../engine-process/protocol.ts'
import type { Clock } from './clock.ts'
import { EngineChild } from './engine-child.ts'
import type { EngineDeath } from './engine-child.ts'
import { forwardEngineLine } from './engine-log.ts'
import type { EngineCapacity } from './generation-service.ts'
import { RestartPolicy } from './restart-policy.ts'
import type { RestartLimits } from './restart-policy.ts'

export interface EngineLifecycleOptions {
  readonly entry: URL
  readonly execArgv: readonly string[]
  readonly config: Omit<EngineProcessConfig, 'incarnation'>
  /** Longest silence while loading. */
  readonly loadTimeoutMs: number
  /** Time a process gets to exit by itself when asked to. */
  readonly exitTimeoutMs: number
  readonly restart: RestartLimits
  readonly clock: Clock
  readonly logger: Logger
}

export interface EngineLifecycleListener {
  onProgress (progress: LoadProgress): void
  onReady (capacity: EngineCapacity, report: EngineReport): void
  /** Everything but the messages of loading. */
  onMessage (message: Exclude<ChildMessage, { readonly type: 'progress' | 'ready' | 'fatal' }>): void
  /** The process is gone; another follows unless `onFailed` does. `series`: the death before was recent. */
  onDeath (series: boolean): void
  /** No process will follow. */
  onFailed (failure: EngineFailure): void
}

/** Why there is no engine any more: its own code and words where it had the time to send them. */
export interface EngineFailure { readonly code: string, readonly message: string }

export type EnginePhase = 'loading' | 'ready' | 'recovering' | 'failed' | 'stopped'

/** Keeps one engine process running: starts it, restarts it when it dies, and gives up when that does not help. */
export class EngineLifecycle {
  readonly #options: EngineLifecycleOptions
  readonly #listener: EngineLifecycleListener
  readonly #policy: RestartPolicy
  #phase: EnginePhase = 'loading'
  #child: EngineChild | undefined
  #incarnation = 0
  #wasReady = false
  #fatal: EngineFailure | undefined
  /** The one timer there is at a time: load silence, restart delay, or patience at exit. */
  #cancelTimer = (): void => {}
  readonly #stopped: Promise<void>
  #resolveStopped = (): void => {}

  constructor (options: EngineLifecycleOptions, listener: EngineLifecycleListener) {
    this.#options = options
    this.#listener = listener
    this.#policy = new RestartPolicy(options.restart)
    this.#stopped = new Promise(resolve => { this.#resolveStopped = resolve })
  }

  get phase (): EnginePhase { return this.#phase }
  get pid (): number | undefined { return this.#child?.pid }
  get numRestarts (): number { return Math.max(0, this.#incarnation - 1) }

  /** Starts a process; after `stop`, nothing. */
  start (): void {
    if (this.#phase === 'stopped') return
    const { entry, execArgv, config, logger } = this.#options
    this.#fatal = undefined
    const child = new EngineChild({
      entry,
      execArgv,
      onMessage: message => this.#received(message),
      onLine: line => forwardEngineLine(logger, line),
      onDeath: death => this.#died(death)
    })
    this.#child = child
    child.send({ type: 'configure', config: { ...config, incarnation: this.#incarnation++ } })
    this.#armLoadTimer()
  }

  send (message: ParentMessage): void {
    if (this.#phase === 'ready') this.#child?.send(message)
  }

  /** Ends a process that no longer works; its death then takes the usual course. */
  kill (reason: string): void {
    this.#options.logger.error({ event: 'engine-killed', reason, pid: this.pid })
    this.#child?.kill()
  }

  /** Asks the process to exit, insists after `exitTimeoutMs`; resolves when it is gone. */
  async stop (): Promise<void> {
    if (this.#phase === 'stopped' || this.#phase === 'failed') return await this.#stopped
    this.#phase = 'stopped'
    this.#cancelTimer()
    const child = this.#child
    if (child === undefined) this.#resolveStopped()
    else {
      child.send({ type: 'shutdown' })
      this.#cancelTimer = this.#options.clock.after(this.#options.exitTimeoutMs, () => child.kill())
    }
    return await this.#stopped
  }

  #received (message: ChildMessage): void {
    switch (message.type) {
      case 'progress':
        if (this.#phase === 'loading' || this.#phase === 'recovering') this.#armLoadTimer()
        this.#listener.onProgress(message.progress)
        break
      case 'ready':
        if (this.#phase === 'stopped') return
        this.#cancelTimer()
        this.#phase = 'ready'
        this.#wasReady = true
        this.#listener.onReady(message.capacity, message.report)
        break
      case 'fatal':
        this.#fatal = { code: message.code, message: message.message }
        break
      default:
        this.#listener.onMessage(message)
    }
  }

  #died (death: EngineDeath): void {
    const { clock, logger } = this.#options
    this.#cancelTimer()
    this.#child = undefined
    if (this.#phase === 'stopped') {
      this.#resolveStopped()
      return
    }
    const now = clock.now()
    const series = this.#policy.isSeries(now)
    const delayMs = this.#policy.recordFailure(now)
    logger.error({ event: 'engine-died', ...death, ...(this.#fatal && { fatal: this.#fatal }), restartInMs: delayMs })
    // What the first load says about the model or the machine will not change by itself.
    const final = this.#fatal !== undefined && !this.#wasReady
    if (final || delayMs === undefined) {
      this.#phase = 'failed'
      this.#resolveStopped()
      this.#listener.onFailed(this.#fatal ?? { code: 'ENGINE_DIED', message: describeDeath(death) })
      return
    }
    this.#phase = this.#wasReady ? 'recovering' : 'loading'
    this.#listener.onDeath(series)
    this.#cancelTimer = clock.after(delayMs, () => this.start())
  }

  #armLoadTimer (): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#options.clock.after(this.#options.loadTimeoutMs, () => this.kill('loading made no progress'))
  }
}

function describeDeath ({ exitCode, signal, lastLines }: EngineDeath): string {
  const how = signal === null ? `exited with code ${exitCode}` : `was ended by ${signal}`
  return [`the engine process ${how} again and again`, ...lastLines.slice(-5)].join('\n')
}
