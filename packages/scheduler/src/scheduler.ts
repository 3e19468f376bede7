import type { ForwardBatch, RunnerLimits, SampledToken, ScoredToken, StepResult } from '@daybreak/engine/contract'
import type { KVCache } from '@daybreak/kvcache'
import type { Clock } from './clock.ts'
import type { SchedulerConfig } from './config.ts'
import { planDecodes } from './decode-plan.ts'
import { DuplicateRequestError, invariant, QueueFullError, SchedulerConfigError } from './errors.ts'
import type { FinishReason, GenerationEvent, GenerationRequest, SchedulerStats } from './generation.ts'
import { planPrefills } from './prefill-plan.ts'
import { maxLengthOf } from './request-check.ts'
import { Residency } from './residency.ts'
import { SequenceGroup } from './sequence.ts'
import type { Sequence } from './sequence.ts'
import { forwardSequence, StepPlan } from './step-plan.ts'
import { StepsInFlight } from './steps-in-flight.ts'

/**
 * Decides which tokens run next. A synchronous state machine: `schedule` hands out a step, `complete` takes its result, and
 * `schedule` may be called again before that; steps complete in the order they were scheduled.
 *
 * Every step carries all runnable decodes; prompts get the rest of the token budget, in chunks. The order is priority (lower
 * first), then arrival; background work runs when there is no other, in short steps or not at all while some may come. When blocks run out, the last in this order are preempted, the first never; their
 * blocks are computed again later, or wait in host memory.
 */
export class Scheduler {
  readonly #config: SchedulerConfig
  readonly #limits: RunnerLimits
  readonly #clock: Clock
  readonly #kvCache: KVCache
  readonly #residency: Residency
  readonly #groups = new Map<string, SequenceGroup>()
  readonly #inFlight = new StepsInFlight()
  #events: GenerationEvent[] = []
  #numArrivals = 0
  /** When there was work other than background work last. */
  #othersSeenAt = -Infinity
  #numSteps = 0
  #promptTokensComputed = 0
  #generatedTokens = 0

  constructor (config: SchedulerConfig, kvCache: KVCache, limits: RunnerLimits, clock: Clock) {
    const { numBlocks, blockSize } = kvCache.config
    if (numBlocks !== limits.numKVBlocks || blockSize !== limits.blockSize) {
      throw new SchedulerConfigError('the KV cache and the runner disagree about blocks', {
        numBlocks, blockSize, numKVBlocks: limits.numKVBlocks, runnerBlockSize: limits.blockSize
      })
    }
    this.#config = config
    this.#limits = limits
    this.#clock = clock
    this.#kvCache = kvCache
    this.#residency = new Residency(kvCache, limits, config)
  }

  stats (): SchedulerStats {
    const { numUsed, numBlocks, queries, hits, numHostSlots, numHostSlotsUsed, numSwappedOut, numSwappedIn } = this.#kvCache.stats
    let numWaiting = 0
    let waitingTokens = 0
    let numBackground = 0
    for (const { group } of this.#residency.running) if (group.background) numBackground++
    for (const { tokens, group, choice } of this.#residency.waiting) {
      if (group.background) {
        numBackground++
        continue
      }
      numWaiting++
      waitingTokens += group.leader?.choice === choice ? tokens.length : tokens.length - group.numPromptTokens + 1
    }
    return {
      numRunning: this.#residency.running.size,
      numWaiting,
      waitingTokens,
      numBackground,
      kvCacheUsage: numUsed / numBlocks,
      numSwapped: this.#kvCache.numSwapped,
      hostTierUsage: numHostSlots === 0 ? 0 : numHostSlotsUsed / numHostSlots,
      swappedOutBlocks: numSwappedOut,
      swappedInBlocks: numSwappedIn,
      prefixCacheQueries: queries,
      prefixCacheHits: hits,
      promptTokensComputed: this.#promptTokensComputed,
      generatedTokens: this.#generatedTokens,
      numPreemptions: this.#residency.numPreemptions,
      numSteps: this.#numSteps
    }
  }

  /**
   * Queues a request. One that goes on behind earlier output was accepted before, so the queue's bounds do not apply to it.
   * @throws InvalidRequestError, DuplicateRequestError, ContextLengthExceededError, KVCapacityExceededError, QueueFullError
   */
  add (request: GenerationRequest): void {
    if (this.#groups.has(request.id)) throw new DuplicateRequestError(request.id)
    const maxLength = maxLengthOf(request, this.#limits)
    if (request.background !== true && request.choices.every(({ outputTokens }) => outputTokens.length === 0)) this.#checkQueue(request.promptTokens.length)
    const group = new SequenceGroup(request, this.#numArrivals++, this.#clock.now(), maxLength)
    this.#residency.prefixes.join(group)
    this.#groups.set(group.id, group)
    for (const sequence of group.sequences) this.#residency.waiting.add(sequence)
    for (const sequence of group.sequences) {
      const last = sequence.tokens.length > group.numPromptTokens ? sequence.tokens.at(-1) : undefined
      if (last !== undefined) this.#finishIfEnded(sequence, last)
    }
  }

  /** Ends one choice, or all, with `abort`; blocks are free for the next step. Unknown or finished ones are left alone. */
  abort (id: string, choice?: number): void {
    for (const sequence of this.#groups.get(id)?.sequences ?? []) {
      const isMeant = choice === undefined || sequence.choice === choice
      if (isMeant && sequence.phase !== 'finished') this.#finish(sequence, 'abort')
    }
  }

  /** Leaves the request out of steps until `resume`. It keeps its blocks while nobody else needs them. */
  pause (id: string): void {
    const group = this.#groups.get(id)
    if (group !== undefined) group.paused = true
  }

  resume (id: string): void {
    const group = this.#groups.get(id)
    if (group !== undefined) group.paused = false
  }

  /** The next step, or undefined when nothing can run until a result, a request or a `resume` comes. */
  schedule (): ForwardBatch | undefined {
    const plan = new StepPlan(this.#limits)
    this.#plan(plan, false)
    this.#planBackground(plan)
    const swapOuts = this.#kvCache.takeSwapOuts()
    if (plan.isEmpty && swapOuts.length === 0) return undefined
    const step = this.#numSteps++
    const sequences = plan.forwards.map(forward => forwardSequence(forward, this.#kvCache))
    this.#inFlight.add(step, plan.forwards)
    for (const forward of plan.forwards) this.#advance(forward.sequence, forward.numTokens, forward.samples)
    // Nothing was computed into the blocks that these fill: they can wait for a step that does.
    const swapIns = plan.isEmpty ? [] : this.#kvCache.takeSwapIns()
    const moves = plan.isEmpty ? [] : this.#kvCache.takeMoves()
    return { step, sequences, moves, ...swapOuts.length > 0 && { swapOuts }, ...swapIns.length > 0 && { swapIns } }
  }

  /** Seconds until `schedule` may have something that it has not now, though nothing comes; undefined: never. */
  get secondsToAskAgain (): number | undefined {
    if (this.#config.backgroundStepTokens !== 0 || this.#residency.hasWork(false) || !this.#residency.hasWork(true)) return undefined
    const seconds = this.#othersSeenAt + this.#config.backgroundQuietSeconds - this.#clock.now()
    return seconds > 0 ? seconds : undefined
  }

  /**
   * Takes the oldest outstanding step's result.
   * @returns all events since they were last taken, this step's last.
   * @throws SchedulerInvariantError when batch and result do not belong together.
   */
  complete (batch: ForwardBatch, result: StepResult): GenerationEvent[] {
    const forwards = this.#inFlight.take(batch, result)
    this.#residency.preemption.observe(batch, result)
    this.#kvCache.swapsArrived(batch.swapOuts ?? [])
    for (const { forward: { sequence, start, numTokens, numScores }, sampled } of forwards) {
      if (numScores !== undefined) this.#acceptScores(sequence.group, start, numScores, result.scored.get(sequence.id) ?? [])
      if (sampled !== undefined) this.#acceptToken(sequence, sampled)
      if (sequence.samplesNothing && start + numTokens >= sequence.group.numPromptTokens) this.#finishGroup(sequence.group)
    }
    return this.takeEvents()
  }

  /** Events that came about since they were last taken, in order. */
  takeEvents (): GenerationEvent[] {
    const events = this.#events
    this.#events = []
    return events
  }

  /** @throws SchedulerInvariantError or KVCacheInvariantError. Linear in everything held: for tests and debugging. */
  checkInvariants (): void {
    this.#residency.checkInvariants()
    const { running, waiting } = this.#residency
    for (const sequence of [...running, ...waiting]) {
      const { id, numInFlight, length, maxLength } = sequence
      invariant(numInFlight === this.#inFlight.numSamplesOf(sequence), 'samples in flight miscounted', { id, numInFlight })
      invariant(length <= maxLength, 'sequence overran its length', { id, length, maxLength })
      invariant(this.#groups.get(sequence.group.id) === sequence.group, 'sequence of an unknown request', { id })
    }
    const numUnfinished = [...this.#groups.values()].flatMap(({ sequences }) => sequences.filter(({ phase }) => phase !== 'finished')).length
    invariant(numUnfinished === running.size + waiting.size, 'sequence in no list', { numUnfinished })
  }

  /** Every step that background work rides along in is a longer gap between two tokens that somebody waits for, and so is one it has to itself when somebody comes. */
  #planBackground (plan: StepPlan): void {
    const { backgroundStepTokens = Math.ceil(this.#limits.maxBatchedTokens / 16), backgroundQuietSeconds, backgroundRideTokens } = this.#config
    const now = this.#clock.now()
    const others = this.#residency.hasWork(false)
    if (others) this.#othersSeenAt = now
    if (others && !plan.isEmpty) plan.limitTokens(backgroundRideTokens)
    else if (now - this.#othersSeenAt < backgroundQuietSeconds) plan.limitTokens(this.#inFlight.size > 0 ? 0 : backgroundStepTokens)
    this.#plan(plan, true)
  }

  #plan (plan: StepPlan, background: boolean): void {
    planDecodes(this.#residency, plan, background, this.#config.maxPreemptions, sequence => this.#exhaust(sequence))
    planPrefills(this.#residency, plan, background, this.#config)
  }

  #checkQueue (numTokens: number): void {
    const { maxWaitingRequests, maxWaitingTokens } = this.#config
    const queued = [...this.#groups.values()].filter(({ started, background }) => !started && !background)
    const waitingTokens = queued.reduce((sum, { numPromptTokens }) => sum + numPromptTokens, 0)
    // A request that is alone is let in however long it is.
    if (queued.length < maxWaitingRequests && (queued.length === 0 || waitingTokens + numTokens <= maxWaitingTokens)) return
    const oldestWaitSeconds = this.#clock.now() - Math.min(...queued.map(({ arrivedAt }) => arrivedAt))
    throw new QueueFullError({ waitingRequests: queued.length, maxWaitingRequests, waitingTokens, maxWaitingTokens, oldestWaitSeconds })
  }

  /** Counts what has just been scheduled as done: whatever is scheduled next runs after it. */
  #advance (sequence: Sequence, numTokens: number, samples: boolean): void {
    const { group, numComputed, tokens } = sequence
    if (!group.started) {
      group.started = true
      this.#events.push({ type: 'scheduled', id: group.id, cachedTokens: numComputed })
    }
    this.#promptTokensComputed += Math.max(0, Math.min(group.numPromptTokens, numComputed + numTokens) - numComputed)
    sequence.numComputed += numTokens
    sequence.historyDue = false
    if (samples) sequence.numInFlight++
    this.#kvCache.commit(sequence.id, tokens, sequence.numComputed)
    this.#residency.prefixes.advanced(sequence)
  }

  #acceptToken (sequence: Sequence, { token, logprob, topLogprobs }: SampledToken): void {
    sequence.numInFlight--
    // Finished while this step was in flight: nobody wants the token.
    if (sequence.phase === 'finished') return
    sequence.tokens.push(token)
    this.#generatedTokens++
    this.#events.push({ type: 'token', id: sequence.group.id, choice: sequence.choice, token, logprob, topLogprobs })
    this.#finishIfEnded(sequence, token)
    if (sequence.phase === 'running') this.#kvCache.commit(sequence.id, sequence.tokens, sequence.numComputed)
  }

  #acceptScores (group: SequenceGroup, start: number, numScores: number, scores: readonly ScoredToken[]): void {
    invariant(scores.length === numScores, 'one score for each target', { id: group.id, scores: scores.length, numScores })
    if (group.isFinished) return
    const complete = group.addScores(start, scores)
    if (complete !== undefined) this.#events.push({ type: 'prompt-scores', id: group.id, scores: complete })
  }

  #finishIfEnded (sequence: Sequence, newest: number): void {
    if (sequence.group.stopTokens.has(newest)) this.#finish(sequence, 'stop', newest)
    else if (sequence.tokens.length >= sequence.maxLength) this.#finish(sequence, 'length')
  }

  #finishGroup (group: SequenceGroup): void {
    for (const sequence of group.sequences) if (sequence.phase !== 'finished') this.#finish(sequence, 'length')
  }

  #exhaust (sequence: Sequence): void {
    const message = `the KV cache has no room for this request: it was preempted ${sequence.numPreemptions} times`
    this.#finish(sequence, 'error', undefined, { code: 'kv_cache_exhausted', message })
  }

  #finish (sequence: Sequence, reason: FinishReason, stopToken?: number, error?: { readonly code: string, readonly message: string }): void {
    this.#residency.finish(sequence)
    this.#events.push({ type: 'finish', id: sequence.group.id, choice: sequence.choice, reason, stopToken, error })
    if (sequence.group.isFinished) this.#groups.delete(sequence.group.id)
  }
}
