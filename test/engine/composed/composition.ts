import type { ModelRunner, ScoredToken, TokenLogprob } from '@daybreak/engine/contract'
import { KVCache, kvCacheConfig } from '@daybreak/kvcache'
import type { TokenId } from '@daybreak/kvcache'
import { GenerationLoop, Scheduler, schedulerConfig, systemClock } from '@daybreak/scheduler'
import type { FinishReason, GenerationEvent, GenerationRequest, PreemptionMode } from '@daybreak/scheduler'

export interface CompositionOptions {
  readonly prefixCaching: boolean
  /** At most the engine's own; fewer force preemptions. */
  readonly numBlocks?: number
  readonly maxPrefillChunk?: number
  readonly maxBatchedTokens?: number
  /** Where the runner has a host tier. */
  readonly preemption?: PreemptionMode
}

export interface ChoiceOutcome {
  readonly tokens: readonly TokenId[]
  readonly logprobs: readonly number[]
  readonly topLogprobs: ReadonlyArray<readonly TokenLogprob[] | undefined>
  readonly finish: FinishReason
}

/** All that a request's events say and that must not depend on its neighbours. */
export interface Outcome {
  readonly choices: readonly ChoiceOutcome[]
  readonly scores: readonly ScoredToken[] | undefined
}

interface Open {
  readonly events: GenerationEvent[]
  numUnfinished: number
  readonly request: GenerationRequest
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (error: unknown) => void
}

/** The real KV cache, scheduler and loop around an engine that others use before and after. */
export class Composition implements AsyncDisposable {
  readonly kvCache: KVCache
  readonly scheduler: Scheduler
  readonly #loop: GenerationLoop
  readonly #open = new Map<string, Open>()
  /** Most sequences seen in one step. */
  widestStep = 0

  constructor (runner: ModelRunner, { prefixCaching, numBlocks = runner.limits.numKVBlocks, maxPrefillChunk, maxBatchedTokens = runner.limits.maxBatchedTokens, preemption = 'auto' }: CompositionOptions) {
    const { numSlots: numHostSlots, groupSize: hostGroupSize, blockSeconds: swapBlockSeconds } = runner.hostTier ?? { numSlots: 0, groupSize: 1, blockSeconds: undefined }
    const limits = { ...runner.limits, numKVBlocks: numBlocks, maxBatchedTokens }
    this.kvCache = new KVCache(kvCacheConfig({ numBlocks, blockSize: limits.blockSize, prefixCaching, numHostSlots, hostGroupSize }))
    this.scheduler = new Scheduler(schedulerConfig({ preemption, swapBlockSeconds, ...maxPrefillChunk === undefined ? {} : { maxPrefillChunk } }), this.kvCache, limits, systemClock)
    this.#loop = new GenerationLoop({
      scheduler: this.scheduler,
      runner,
      clock: systemClock,
      listener: {
        onEvents: (events, summary) => {
          this.widestStep = Math.max(this.widestStep, summary?.numSequences ?? 0)
          for (const event of events) this.#take(event)
        },
        onFailure: error => { for (const { reject } of this.#open.values()) reject(error) }
      }
    })
  }

  /** Resolves when all choices have finished. */
  run (request: GenerationRequest): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      this.#open.set(request.id, { events: [], numUnfinished: request.choices.length, request, resolve, reject })
      this.#loop.add(request)
    })
  }

  abort (id: string): void {
    this.#loop.abort(id)
  }

  /** @throws SchedulerInvariantError, KVCacheInvariantError */
  checkInvariants (): void {
    this.scheduler.checkInvariants()
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#loop[Symbol.asyncDispose]()
  }

  #take (event: GenerationEvent): void {
    const open = this.#open.get(event.id)
    if (open === undefined) throw new Error(`event of the unknown request ${event.id}`)
    open.events.push(event)
    if (event.type !== 'finish' || --open.numUnfinished > 0) return
    this.#open.delete(event.id)
    open.resolve(outcomeOf(open.request, open.events))
  }
}

function outcomeOf (request: GenerationRequest, events: readonly GenerationEvent[]): Outcome {
  return {
    choices: request.choices.map((_, choice) => {
      const tokens = events.flatMap(event => event.type === 'token' && event.choice === choice ? [event] : [])
      const finish = events.find(event => event.type === 'finish' && event.choice === choice)
      if (finish?.type !== 'finish') throw new Error(`choice ${choice} of ${request.id} never finished`)
      return {
        tokens: tokens.map(({ token }) => token),
        logprobs: tokens.map(({ logprob }) => logprob),
        topLogprobs: tokens.map(({ topLogprobs }) => topLogprobs),
        finish: finish.reason
      }
    }),
    scores: events.find(event => event.type === 'prompt-scores')?.scores
  }
}
