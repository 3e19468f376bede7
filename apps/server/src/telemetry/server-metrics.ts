import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, Histogram, Summary } from 'prom-client'
import type { Registry } from 'prom-client'
import type { ErrorCode } from '../errors.ts'
import { errorShapes } from '../errors.ts'
import type { GenerationService } from '../generation/generation-service.ts'
import { stepBuckets } from './buckets.ts'
import type { AbortCause, RequestPhase } from './generation-observer.ts'
import { SnapshotCounter } from './snapshot-counter.ts'

export interface ResponseRecord {
  /** The route's pattern, never the path asked for: its values are few. */
  readonly handler: string
  readonly method: string
  readonly status: number
  readonly seconds: number
  readonly requestBytes: number
  readonly responseBytes: number
}

const phases: readonly RequestPhase[] = ['tokenizing', 'queued', 'prefill', 'decode']
const causes: readonly AbortCause[] = ['disconnect', 'cancel', 'timeout', 'slow_reader', 'shutdown']
const knownMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'OPTIONS', 'PUT', 'PATCH', 'DELETE'])

/** HTTP metrics under prometheus_fastapi_instrumentator's names, as vLLM has them, and our own under `daybreak_`. */
export class ServerMetrics {
  readonly #requests: Counter<'handler' | 'method' | 'status'>
  readonly #duration: Histogram<'handler' | 'method'>
  readonly #fineDuration: Histogram
  readonly #requestSize: Summary<'handler'>
  readonly #responseSize: Summary<'handler'>
  readonly #aborts: Counter<'phase' | 'cause'>
  readonly #rejections: Counter<'reason'>
  readonly #keepAlives: Counter
  readonly #pauses: Counter
  readonly #eventLoopDelay = monitorEventLoopDelay({ resolution: 10 })

  constructor (registry: Registry) {
    const registers = [registry]
    this.#requests = new Counter({ name: 'http_requests_total', help: 'Total number of requests by method, status and handler.', labelNames: ['handler', 'method', 'status'], registers })
    this.#duration = new Histogram({ name: 'http_request_duration_seconds', help: 'Latency with only few buckets by handler.', labelNames: ['handler', 'method'], buckets: [0.1, 0.5, 1], registers })
    this.#fineDuration = new Histogram({
      name: 'http_request_duration_highr_seconds',
      help: 'Latency with many buckets but no API specific labels.',
      buckets: [0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60],
      registers,
    })
    this.#requestSize = new Summary({ name: 'http_request_size_bytes', help: 'Content length of incoming requests by handler.', labelNames: ['handler'], percentiles: [], registers })
    this.#responseSize = new Summary({ name: 'http_response_size_bytes', help: 'Content length of outgoing responses by handler; 0 for streams.', labelNames: ['handler'], percentiles: [], registers })
    this.#aborts = new Counter({ name: 'daybreak_aborts_total', help: 'Requests aborted, by what they were doing and why.', labelNames: ['phase', 'cause'], registers })
    this.#rejections = new Counter({ name: 'daybreak_rejections_total', help: 'Requests refused, by error code.', labelNames: ['reason'], registers })
    this.#keepAlives = new Counter({ name: 'daybreak_keep_alives_total', help: 'Keep-alive comments sent on silent streams.', registers })
    this.#pauses = new Counter({ name: 'daybreak_slow_reader_pauses_total', help: 'Times that generations were paused because their reader lagged.', registers })
    for (const phase of phases) for (const cause of causes) this.#aborts.inc({ phase, cause }, 0)
    for (const reason of Object.keys(errorShapes)) this.#rejections.inc({ reason }, 0)
    this.#registerEventLoopDelay(registry)
  }

  observeResponse ({ handler, method, status, seconds, requestBytes, responseBytes }: ResponseRecord): void {
    const knownMethod = knownMethods.has(method) ? method : 'OTHER'
    this.#requests.inc({ handler, method: knownMethod, status: `${Math.floor(status / 100)}xx` })
    this.#duration.observe({ handler, method: knownMethod }, seconds)
    this.#fineDuration.observe(seconds)
    this.#requestSize.observe({ handler }, requestBytes)
    this.#responseSize.observe({ handler }, responseBytes)
  }

  requestAborted (phase: RequestPhase, cause: AbortCause): void { this.#aborts.inc({ phase, cause }) }
  requestRejected (reason: ErrorCode): void { this.#rejections.inc({ reason }) }
  keepAliveSent (): void { this.#keepAlives.inc() }
  readerPaused (): void { this.#pauses.inc() }

  observeEngine (generation: GenerationService, registry: Registry): void {
    const registers = [registry]
    const host = new Histogram({ name: 'daybreak_step_host_seconds', help: 'Host time of one engine step: encoding and submitting.', buckets: stepBuckets, registers })
    const device = new Histogram({ name: 'daybreak_step_device_seconds', help: 'Device time of one engine step; of decode steps that are alike one in eight is timed, and counts for those behind it.', buckets: stepBuckets, registers })
    const sequences = new Histogram({ name: 'daybreak_step_sequences', help: 'Sequences in one engine step.', buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], registers })
    const restarts = new SnapshotCounter()
    new Counter({
      name: 'daybreak_engine_restarts_total',
      help: 'Times the engine process was restarted.',
      registers,
      collect () { this.inc(restarts.growth(generation.numRestarts)) },
    }).inc(0)
    generation.onStep(step => {
      host.observe(step.hostSeconds)
      device.observe(step.deviceSeconds)
      sequences.observe(step.numSequences)
    })
  }

  close (): void { this.#eventLoopDelay.disable() }

  #registerEventLoopDelay (registry: Registry): void {
    this.#eventLoopDelay.enable()
    const gauge = new Gauge({
      name: 'daybreak_event_loop_lag_seconds',
      help: 'Delay of the event loop since the last scrape.',
      labelNames: ['quantile'],
      registers: [registry],
      collect: () => {
        const histogram = this.#eventLoopDelay
        // An idle histogram reports NaN and huge minima; nothing measured is no lag.
        const read = (nanoseconds: number): number => histogram.count === 0 ? 0 : nanoseconds / 1e9
        gauge.set({ quantile: '0.5' }, read(histogram.percentile(50)))
        gauge.set({ quantile: '0.99' }, read(histogram.percentile(99)))
        gauge.set({ quantile: '1' }, read(histogram.max))
        histogram.reset()
      },
    })
  }
}
