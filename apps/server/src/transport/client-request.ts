import type { FastifyBaseLogger } from 'fastify'
import { ApiError, ServiceUnavailableError } from '../errors.ts'
import type { GenerationEndpoint } from '../openai/generation-endpoint.ts'
import type { GenerationOutput } from '../openai/generation-output.ts'
import type { GenerationPlan } from '../openai/generation-plan.ts'
import { GenerationRun } from '../openai/generation-run.ts'
import type { ServerContext } from '../server-context.ts'
import type { AbortCause } from '../telemetry/generation-observer.ts'
import { monotonicSeconds } from '../telemetry/monotonic-seconds.ts'
import type { Stoppable } from './active-requests.ts'

export interface ClientRequestOptions {
  readonly context: ServerContext
  readonly endpoint: GenerationEndpoint
  readonly body: unknown
  readonly log: FastifyBaseLogger
  /** Monotonic seconds. */
  readonly arrivedAt: number
}

/**
 * One request of a client from its body to its end, whatever carries it: planned, run, logged, and stoppable at every moment,
 * also before there is anything to run. Counted as active until `close`.
 */
export class ClientRequest implements Stoppable {
  readonly #options: ClientRequestOptions
  readonly #deadline: NodeJS.Timeout
  #run: GenerationRun | undefined
  #stopped: { readonly cause: AbortCause, readonly error: ApiError | undefined } | undefined
  #paused = false

  constructor (options: ClientRequestOptions) {
    this.#options = options
    const { config, active } = options.context
    this.#deadline = setTimeout(() => {
      this.abort('timeout', new ApiError('generation_timeout', `The request took longer than ${config.requestTimeoutSeconds} s.`))
    }, config.requestTimeoutSeconds * 1000).unref()
    active.add(this)
  }

  /** Whether it was stopped with nobody left to answer. */
  get abandoned (): boolean { return this.#stopped !== undefined && this.#stopped.error === undefined }

  /** Checks and tokenises. @throws ApiError and what tokenising throws; the abort's error when aborted meanwhile. */
  async plan (): Promise<GenerationPlan> {
    const { context, endpoint, body } = this.#options
    if (context.drain.draining || context.generation.state === 'draining') throw new ServiceUnavailableError({ state: 'draining' })
    const plan = await endpoint.plan(body)
    if (this.#stopped?.error !== undefined) throw this.#stopped.error
    return plan
  }

  /** Queues the request. @throws what `GenerationService.generate` throws. */
  start (plan: GenerationPlan, output: GenerationOutput): GenerationRun {
    const { generation, text, telemetry } = this.#options.context
    const run = new GenerationRun(plan, { generation, text, observer: telemetry, arrivedAt: this.#options.arrivedAt }, output)
    this.#run = run
    if (this.#paused) run.pause()
    return run
  }

  pause (): void {
    this.#paused = true
    this.#run?.pause()
  }

  resume (): void {
    this.#paused = false
    this.#run?.resume()
  }

  /** @param error what the client is told; without one it has gone. */
  abort (cause: AbortCause, error?: ApiError): void {
    if (this.#stopped !== undefined) return
    this.#stopped = { cause, error }
    if (this.#run === undefined) this.#options.context.telemetry.requestAborted('tokenizing', cause)
    else this.#run.abort(cause, error)
  }

  stop (): void {
    this.abort('shutdown', new ApiError('service_unavailable', 'The server is shutting down.'))
  }

  /** The request is answered, or its client gone. */
  close (): void {
    clearTimeout(this.#deadline)
    this.#options.context.active.remove(this)
    const { log, arrivedAt } = this.#options
    const durationMs = Math.round((monotonicSeconds() - arrivedAt) * 1000)
    if (this.#run === undefined) {
      if (this.#stopped !== undefined) log.info({ event: 'request-finished', reason: 'abort', cause: this.#stopped.cause, durationMs }, 'request finished')
      return
    }
    const { reason, usage, ttftSeconds } = this.#run.summary
    const error = this.#run.error
    log.info({
      event: 'request-finished',
      reason,
      ...usage,
      durationMs,
      ttftMs: ttftSeconds === undefined ? undefined : Math.round(ttftSeconds * 1000),
      cause: this.#stopped?.cause,
      code: error?.code,
    }, 'request finished')
  }
}
