import { randomUUID } from 'node:crypto'
import type { PrefixGroupMembership } from '@daybreak/scheduler'
import { ApiError, ServiceUnavailableError, toApiError } from '../errors.ts'
import type { GenerationService } from '../generation/generation-service.ts'
import type { GenerationEndpoint } from '../openai/generation-endpoint.ts'
import { noOutput } from '../openai/generation-output.ts'
import type { GenerationPlan } from '../openai/generation-plan.ts'
import { GenerationRun } from '../openai/generation-run.ts'
import type { Usage } from '../openai/usage.ts'
import type { GenerationObserver } from '../telemetry/generation-observer.ts'
import { monotonicSeconds } from '../telemetry/monotonic-seconds.ts'
import type { TextService } from '../text/text-service.ts'
import { AtMost } from './at-most.ts'
import { inTurn } from './event-loop-turns.ts'
import { FairPlaces } from './fair-places.ts'
import type { LinePrompt } from './line-order.ts'

/** What a request of a batch was answered with. */
export interface LineAnswer {
  readonly requestId: string
  readonly status: number
  readonly body: unknown
  readonly usage: Usage | undefined
}

export interface LineRunnerOptions {
  readonly endpoints: readonly GenerationEndpoint[]
  readonly generation: GenerationService
  readonly text: TextService
  readonly observer: GenerationObserver
  /** Resolves after `ms`, rejects when the signal aborts before. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** Requests at a time. Default: enough to keep the engine busy. */
  readonly maxConcurrency?: number | undefined
}

const RETRY_MS = 500
/** Attempts at a request that the engine gives up on; one that it is only not ready for may wait as long as it takes. */
const MAX_ATTEMPTS = 5
/** Requests tokenised at the same time: the tokeniser's queue is bounded, and there for requests that somebody waits for. */
const MAX_PLANNING = 4
/** Output expected of a request that sets no limit of its own. */
const USUAL_OUTPUT_TOKENS = 256

/** Runs requests of batches as the endpoints would, in the background and without a client. */
export class LineRunner {
  /**
   * Of the engine, `numAtOnce`, for the batches to share: a request takes one while it is answered. A place is a row of the engine for as
   * long as the answer takes, which is what there is too little of, so that equal shares are equal parts of the engine's time, whether a
   * batch asks for many short answers or for few long ones.
   */
  readonly places = new FairPlaces(() => this.numAtOnce)
  readonly #options: LineRunnerOptions
  readonly #planning = new AtMost(MAX_PLANNING)
  readonly #endpoints: ReadonlyMap<string, GenerationEndpoint>

  constructor (options: LineRunnerOptions) {
    this.#options = options
    this.#endpoints = new Map(options.endpoints.map(endpoint => [endpoint.path, endpoint]))
  }

  /** Paths that a batch can be for. */
  get endpoints (): readonly string[] {
    return [...this.#endpoints.keys()]
  }

  /** Requests that keep every row of the engine busy, and as many behind them, unless another number was asked for. */
  get numAtOnce (): number {
    const { generation, maxConcurrency } = this.#options
    return maxConcurrency ?? 2 * (generation.capacity?.maxSequences ?? 1)
  }

  get blockSize (): number | undefined {
    return this.#options.generation.capacity?.blockSize
  }

  /** @throws the signal's reason, ServiceUnavailableError when there will be no engine any more (rejects) */
  async ready (signal: AbortSignal): Promise<void> {
    const { generation, sleep } = this.#options
    while (generation.capacity === undefined || generation.state !== 'ready') {
      this.#refuseFailed()
      await sleep(RETRY_MS, signal)
    }
  }

  /** Undefined for a request without exactly one prompt, or one that will be refused. */
  async promptOf (endpoint: string, body: unknown): Promise<LinePrompt | undefined> {
    try {
      const { prompts: [prompt, ...others], numChoices } = await this.#plan(endpoint, body)
      if (prompt === undefined || others.length > 0) return undefined
      return { tokens: Int32Array.from(prompt.tokens), outputTokens: numChoices * Math.min(prompt.maxTokens, USUAL_OUTPUT_TOKENS) }
    } catch {
      return undefined
    }
  }

  /**
   * What goes wrong is an answer.
   * @throws the signal's reason, ServiceUnavailableError when there will be no engine any more (rejects)
   */
  async answer (endpoint: string, body: unknown, prefixGroup: PrefixGroupMembership | undefined, signal: AbortSignal): Promise<LineAnswer> {
    const requestId = `req_${randomUUID().replaceAll('-', '')}`
    let group = prefixGroup
    for (let attempts = 0; ;) {
      signal.throwIfAborted()
      try {
        const plan = await this.#plan(endpoint, body, signal)
        signal.throwIfAborted()
        const run = await this.#run({ ...plan, background: true, ...group !== undefined && { prefixGroup: group } }, signal)
        return { requestId, status: 200, body: run.whole(), usage: run.summary.usage }
      } catch (thrown) {
        signal.throwIfAborted()
        this.#refuseFailed()
        const error = toApiError(thrown)
        if (group !== undefined && error.code === 'invalid_value') {
          // Prompts change, with the date in a template for one, and then begin otherwise than when they were grouped.
          group = undefined
          continue
        }
        const isPassing = error.code === 'service_unavailable' || error.code === 'rate_limit_exceeded'
        if (this.#options.generation.state === 'ready') attempts++
        if (!isPassing || attempts >= MAX_ATTEMPTS) return { requestId, status: error.shape.status, body: error.body, usage: undefined }
        await this.#options.sleep(RETRY_MS, signal)
      }
    }
  }

  /** Waiting would be for ever, and an answer would be the engine's fault in the request's name. */
  #refuseFailed (): void {
    const { state } = this.#options.generation
    if (state === 'failed') throw new ServiceUnavailableError({ state })
  }

  async #plan (path: string, body: unknown, signal?: AbortSignal): Promise<GenerationPlan> {
    const endpoint = this.#endpoints.get(path)
    if (endpoint === undefined) throw new ApiError('invalid_value', `Invalid value for 'url': there is no endpoint ${path}.`, { param: 'url' })
    return await this.#planning.run(async () => {
      signal?.throwIfAborted()
      return await inTurn(async () => await endpoint.plan(body))
    })
  }

  async #run (plan: GenerationPlan, signal: AbortSignal): Promise<GenerationRun> {
    const { generation, text, observer } = this.#options
    // As many as there are places begin at once, and each hands its whole prompt to the engine.
    const { run, finished, abort } = await inTurn(() => {
      signal.throwIfAborted()
      const run = new GenerationRun(plan, { generation, text, observer, arrivedAt: monotonicSeconds() }, noOutput)
      const abort = (): void => { run.abort('cancel') }
      signal.addEventListener('abort', abort, { once: true })
      return { run, finished: run.finished(), abort }
    })
    try {
      await finished
    } finally {
      signal.removeEventListener('abort', abort)
    }
    if (run.error !== undefined) throw run.error
    if (run.aborted) throw new ApiError('service_unavailable', 'The server stopped this generation.')
    return run
  }
}
