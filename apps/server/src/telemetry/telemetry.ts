import { Counter, Gauge, Registry } from 'prom-client'
import type { ErrorCode } from '../errors.ts'
import type { GenerationService } from '../generation/generation-service.ts'
import type { QueueSnapshot } from '../queue/queue-counts.ts'
import { monotonicSeconds } from './monotonic-seconds.ts'
import { registerEngineMetrics } from './engine-metrics.ts'
import { Exposition } from './exposition.ts'
import type { AbortCause, ChoiceRecord, GenerationObserver, RequestPhase } from './generation-observer.ts'
import { GenerationMetrics } from './generation-metrics.ts'
import { registerQueueMetrics } from './queue-metrics.ts'
import { ServerMetrics } from './server-metrics.ts'
import type { ResponseRecord } from './server-metrics.ts'

export interface TelemetryOptions {
  readonly generation: GenerationService
  /** The one value of the `model_name` label; requests cannot add another. */
  readonly modelName: string
  /** How long a rendered text is reused. */
  readonly cacheSeconds: number
  /** Undefined: no batches are shared with other servers. */
  readonly queue?: { readonly snapshot: QueueSnapshot } | undefined
}

/** Everything that is measured, and the text Prometheus reads. One per server; there is no global registry. */
export class Telemetry implements GenerationObserver {
  readonly contentType: string
  readonly #generation: GenerationService
  readonly #exposition: Exposition
  readonly #requests: GenerationMetrics
  readonly #server: ServerMetrics

  constructor ({ generation, modelName, cacheSeconds, queue }: TelemetryOptions) {
    const vllm = new Registry()
    vllm.setDefaultLabels({ model_name: modelName, engine: '0' })
    const own = new Registry()
    this.#generation = generation
    this.#requests = new GenerationMetrics(vllm)
    this.#server = new ServerMetrics(own)
    registerEngineMetrics(vllm, generation)
    this.#server.observeEngine(generation, own)
    if (queue !== undefined) registerQueueMetrics(own, () => queue.snapshot)
    registerProcessMetrics(own)
    this.#exposition = new Exposition([vllm, own], cacheSeconds, monotonicSeconds)
    this.contentType = this.#exposition.contentType
  }

  render (): Promise<string> {
    this.#learnCapacity()
    return this.#exposition.render()
  }

  requestStarted (request: { readonly numChoices: number }): void {
    this.#learnCapacity()
    this.#requests.requestStarted(request)
  }

  promptScheduled (prompt: { readonly promptTokens: number, readonly cachedTokens: number }): void { this.#requests.promptScheduled(prompt) }
  firstToken (seconds: number): void { this.#requests.firstToken(seconds) }
  interToken (seconds: number): void { this.#requests.interToken(seconds) }
  tokensGenerated (count: number): void { this.#requests.tokensGenerated(count) }
  choiceFinished (record: ChoiceRecord): void { this.#requests.choiceFinished(record) }
  requestAborted (phase: RequestPhase, cause: AbortCause): void { this.#server.requestAborted(phase, cause) }
  requestRejected (reason: ErrorCode): void { this.#server.requestRejected(reason) }
  observeResponse (record: ResponseRecord): void { this.#server.observeResponse(record) }
  keepAliveSent (): void { this.#server.keepAliveSent() }
  readerPaused (): void { this.#server.readerPaused() }
  /** Stops measuring the event loop, which would keep nothing alive but costs a timer. */
  close (): void { this.#server.close() }

  #learnCapacity (): void {
    if (this.#generation.capacity !== undefined) this.#requests.modelLoaded(this.#generation.capacity.maxModelLen)
  }
}

/** The process metrics that dashboards read, under the standard client names. */
function registerProcessMetrics (registry: Registry): void {
  const registers = [registry]
  const start = Math.floor(Date.now() / 1000 - process.uptime())
  new Gauge({ name: 'process_start_time_seconds', help: 'Start time of the process since unix epoch in seconds.', registers }).set(start)
  new Gauge({
    name: 'process_resident_memory_bytes', help: 'Resident memory size in bytes.', registers, collect () { this.set(process.memoryUsage.rss()) },
  }).set(process.memoryUsage.rss())
  let counted = 0
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    registers,
    collect () {
      const { user, system } = process.cpuUsage()
      this.inc((user + system) / 1e6 - counted)
      counted = (user + system) / 1e6
    },
  }).inc(0)
}
