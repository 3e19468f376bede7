import type { EngineReport, LoadProgress } from '@daybreak/engine'
import type { GenerationEvent, GenerationRequest, SchedulerStats } from '@daybreak/scheduler'
import { ServiceUnavailableError } from '../errors.ts'
import type { ChildMessage } from '../engine-process/protocol.ts'
import { decodeStep, engineRequestId, handleOf } from '../engine-process/step-message.ts'
import type { StepMessage } from '../engine-process/step-message.ts'
import { Admission } from './admission.ts'
import type { QueueLimits } from './admission.ts'
import { EngineLifecycle } from './engine-lifecycle.ts'
import type { EngineFailure, EngineLifecycleOptions } from './engine-lifecycle.ts'
import { continueCounters, noStats } from './engine-stats.ts'
import { ContextLengthExceededError, DuplicateRequestError } from './errors.ts'
import type { EngineCapacity, GenerationService, GenerationStream, ServiceState, StepSummary } from './generation-service.ts'
import { EventStream } from './generation-stream.ts'
import { PendingRequest } from './pending-request.ts'
import { ProgressWatch } from './progress-watch.ts'
import { ReplayOrder } from './replay-order.ts'

export interface EngineSupervisorOptions extends EngineLifecycleOptions {
  readonly queue: QueueLimits
  /** Work queued and no step finished for this long: the engine process is replaced. Must exceed the longest single step. */
  readonly stallTimeoutMs: number
  /** Deaths in a row that one request may be present at. */
  readonly maxCrashesPerRequest: number
}

/** What the command line shows of the engine's life. Every one is optional. */
export interface EngineObserver {
  onProgress? (progress: LoadProgress): void
  onReady? (capacity: EngineCapacity, report: EngineReport): void
  onRestart? (numReplayed: number): void
  onFailed? (failure: EngineFailure): void
}

/**
 * The generation service over a supervised engine process. When the process dies or stalls it is replaced, and every unfinished
 * request goes on behind the tokens already delivered: sampling is counter-based, so they are the tokens that would have come.
 */
export class EngineSupervisor implements GenerationService, AsyncDisposable {
  readonly #options: EngineSupervisorOptions
  readonly #observer: EngineObserver
  readonly #lifecycle: EngineLifecycle
  readonly #admission: Admission
  readonly #watch: ProgressWatch
  readonly #replayOrder: ReplayOrder
  /** In order of arrival. */
  readonly #pending = new Map<number, PendingRequest>()
  readonly #ids = new Set<string>()
  readonly #stepListeners: Array<(step: StepSummary) => void> = []
  #idleWaiters: Array<() => void> = []
  #nextHandle = 0
  #capacity: EngineCapacity | undefined
  #earlierStats = noStats
  #processStats = noStats
  #draining = false
  #stalled = false

  constructor (options: EngineSupervisorOptions, observer: EngineObserver = {}) {
    this.#options = options
    this.#observer = observer
    this.#admission = new Admission(options.queue)
    this.#replayOrder = new ReplayOrder(options.maxCrashesPerRequest)
    this.#watch = new ProgressWatch(options.clock, options.stallTimeoutMs, () => this.#stall())
    this.#lifecycle = new EngineLifecycle(options, {
      onProgress: progress => this.#observer.onProgress?.(progress),
      onReady: (capacity, report) => this.#ready(capacity, report),
      onMessage: message => this.#received(message),
      onDeath: series => this.#died(series),
      onFailed: failure => this.#failed(failure)
    })
  }

  /** Starts the engine process. Call once. */
  start (): void {
    this.#lifecycle.start()
  }

  get state (): ServiceState {
    const { phase } = this.#lifecycle
    if (phase === 'failed') return 'failed'
    return this.#draining || phase === 'stopped' ? 'draining' : phase
  }

  get capacity (): EngineCapacity | undefined { return this.#capacity }
  get queueLimits (): QueueLimits { return this.#options.queue }
  get progressing (): boolean { return !this.#stalled && this.#lifecycle.phase !== 'failed' }
  get enginePid (): number | undefined { return this.#lifecycle.pid }
  get numRestarts (): number { return this.#lifecycle.numRestarts }

  get stats (): SchedulerStats {
    const stats = continueCounters(this.#earlierStats, this.#processStats)
    if (this.#lifecycle.phase === 'ready') return stats
    let numBackground = 0
    for (const { request } of this.#pending.values()) if (request.background === true) numBackground++
    return { ...stats, numRunning: 0, numWaiting: this.#pending.size - numBackground, waitingTokens: this.#admission.waitingTokens, numBackground, kvCacheUsage: 0, numSwapped: 0, hostTierUsage: 0 }
  }

  onStep (listener: (step: StepSummary) => void): void {
    this.#stepListeners.push(listener)
  }

  /**
   * @throws ServiceUnavailableError while loading, draining or failed; during recovery requests wait for the new process.
   * @throws QueueFullError, QueueTokensExceededError, ContextLengthExceededError, DuplicateRequestError
   */
  generate (request: GenerationRequest): GenerationStream {
    const { state } = this
    const capacity = this.#capacity
    if ((state !== 'ready' && state !== 'recovering') || capacity === undefined) throw new ServiceUnavailableError({ state })
    const promptTokens = request.promptTokens.length
    const { maxModelLen } = capacity
    if (promptTokens + Math.min(1, request.maxTokens) > maxModelLen) throw new ContextLengthExceededError({ promptTokens, maxModelLen })
    if (this.#ids.has(request.id)) throw new DuplicateRequestError({ id: request.id })
    const handle = this.#nextHandle++
    // Whoever hands in background work hands in only so much at a time, and waits for it.
    if (request.background !== true) this.#admission.enter(handle, promptTokens)
    this.#ids.add(request.id)

    const pending: PendingRequest = new PendingRequest(handle, request, new EventStream({
      abort: choice => this.#abort(pending, choice),
      pause: () => this.#setPaused(pending, true),
      resume: () => this.#setPaused(pending, false)
    }))
    this.#pending.set(handle, pending)
    this.#sendUnsent()
    return pending.stream
  }

  /**
   * Refuses new requests, lets the unfinished ones go on for up to `deadlineMs`, aborts what is left, and ends the engine process.
   * Resolves when that is gone. Calling it again shortens the wait to the nearer deadline.
   */
  async drain (deadlineMs: number): Promise<void> {
    this.#draining = true
    if (this.#pending.size > 0) {
      await new Promise<void>(resolve => {
        this.#idleWaiters.push(resolve)
        const cancel = this.#options.clock.after(deadlineMs, resolve)
        this.#idleWaiters.push(cancel)
      })
    }
    for (const pending of [...this.#pending.values()]) this.#abort(pending, undefined)
    await this.#lifecycle.stop()
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.drain(0)
  }

  #ready (capacity: EngineCapacity, report: EngineReport): void {
    this.#capacity = capacity
    if (this.numRestarts > 0) this.#observer.onRestart?.(this.#pending.size)
    this.#observer.onReady?.(capacity, report)
    this.#sendUnsent()
  }

  #received (message: Exclude<ChildMessage, { readonly type: 'progress' | 'ready' | 'fatal' }>): void {
    switch (message.type) {
      case 'step': this.#step(message); break
      case 'stats': this.#processStats = message.stats; break
      case 'rejected': {
        const pending = this.#pending.get(handleOf(message.id))
        if (pending !== undefined) this.#deliver(pending, pending.finish('error', undefined, { code: message.code, message: message.message }))
        break
      }
      default: message satisfies never
    }
  }

  #step (message: StepMessage): void {
    this.#processStats = message.stats
    const { summary } = message
    if (summary !== undefined) {
      this.#watch.progress()
      this.#admission.stepFinished(summary.numTokens, this.#options.clock.now())
      for (const listener of this.#stepListeners) listener(summary)
    }
    for (const [handle, events] of decodeStep(message, handle => this.#pending.get(handle)?.request.id)) {
      const pending = this.#pending.get(handle)
      if (pending !== undefined) this.#deliver(pending, pending.accept(events))
    }
    // A suspect that proved itself lets the next one through.
    this.#sendUnsent()
  }

  /** Hands events to the reader, and closes the books on a request that has had its last. */
  #deliver (pending: PendingRequest, events: readonly GenerationEvent[]): void {
    if (!pending.waiting || pending.finished) this.#admission.leave(pending.handle)
    pending.stream.push(events)
    if (!pending.finished) return
    this.#pending.delete(pending.handle)
    this.#ids.delete(pending.request.id)
    pending.stream.end()
    this.#updateWatch()
    if (this.#pending.size > 0) return
    for (const wake of this.#idleWaiters) wake()
    this.#idleWaiters = []
  }

  #sendUnsent (): void {
    if (this.#lifecycle.phase === 'ready') {
      for (const pending of this.#replayOrder.next(this.#pending.values())) {
        const id = engineRequestId(pending.handle, pending.request.id)
        const request = pending.takeForSending(id)
        if (request === undefined) continue
        this.#lifecycle.send({ type: 'generate', request })
        if (pending.paused) this.#lifecycle.send({ type: 'pause', id })
      }
    }
    this.#updateWatch()
  }

  #abort (pending: PendingRequest, choice: number | undefined): void {
    if (!this.#pending.has(pending.handle)) return
    const sentChoice = choice === undefined ? undefined : pending.sentIndexOf(choice)
    if (pending.sent && (choice === undefined || sentChoice !== undefined)) {
      this.#lifecycle.send({ type: 'abort', id: engineRequestId(pending.handle, pending.request.id), choice: sentChoice })
    }
    // The reader need not wait for the engine to agree; what that still sends for it is dropped.
    this.#deliver(pending, pending.finish('abort', choice))
  }

  #setPaused (pending: PendingRequest, paused: boolean): void {
    if (pending.paused === paused || !this.#pending.has(pending.handle)) return
    pending.paused = paused
    if (pending.sent) this.#lifecycle.send({ type: paused ? 'pause' : 'resume', id: engineRequestId(pending.handle, pending.request.id) })
    this.#sendUnsent()
  }

  #updateWatch (): void {
    const busy = this.#lifecycle.phase === 'ready' && [...this.#pending.values()].some(pending => pending.sent && !pending.paused)
    this.#watch.setBusy(busy)
  }

  #stall (): void {
    this.#stalled = true
    this.#lifecycle.kill('work was queued and no step finished in time')
  }

  #died (series: boolean): void {
    // The next process starts with a clean record: a probe that fails through its whole load would have the server restarted.
    this.#stalled = false
    this.#earlierStats = continueCounters(this.#earlierStats, { ...this.#processStats })
    this.#processStats = noStats
    for (const pending of this.#replayOrder.blame(this.#pending.values(), series)) {
      this.#options.logger.error({ event: 'request-given-up', requestId: pending.request.id, promptTokens: pending.request.promptTokens.length })
      this.#deliver(pending, pending.finish('error', undefined, {
        code: 'ENGINE_CRASHED_BY_REQUEST',
        message: 'the engine failed repeatedly while it was working on this request'
      }))
    }
    for (const pending of [...this.#pending.values()]) this.#deliver(pending, pending.settle())
    this.#updateWatch()
  }

  #failed (failure: EngineFailure): void {
    for (const pending of [...this.#pending.values()]) {
      this.#deliver(pending, pending.finish('error', undefined, { code: 'ENGINE_FAILED', message: 'the engine has failed and cannot be restarted' }))
    }
    this.#updateWatch()
    this.#observer.onFailed?.(failure)
  }
}
