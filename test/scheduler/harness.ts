import type { ForwardBatch, RunnerLimits, SamplingParams, ScoredToken, StepResult } from '@daybreak/engine/contract'
import { KVCache, kvCacheConfig, sequenceId } from '@daybreak/kvcache'
import type { TokenId } from '@daybreak/kvcache'
import { Scheduler, schedulerConfig } from '@daybreak/scheduler'
import type { FinishReason, GenerationEvent, GenerationRequest, SchedulerConfig } from '@daybreak/scheduler'
import { FakeClock } from '../fakes/fake-clock.ts'
import { FakeModelRunner } from '../fakes/fake-model-runner.ts'
import { continuation, greedySampling } from '../fakes/fake-model.ts'

export interface HarnessOptions {
  readonly limits?: Partial<RunnerLimits>
  readonly config?: Partial<SchedulerConfig>
  readonly prefixCaching?: boolean
  readonly numHostSlots?: number
  readonly hostGroupSize?: number
}

export interface RequestShape extends Partial<Omit<GenerationRequest, 'choices'>> {
  readonly numPromptTokens?: number
  readonly numChoices?: number
  readonly sampling?: Partial<SamplingParams>
  readonly outputTokens?: readonly TokenId[]
}

let numRequests = 0

/** `count` tokens that start like those of no other stream. */
export function promptOf (count: number, stream: number): TokenId[] {
  return Array.from({ length: count }, (_, i) => (stream * 131 + i * 7) % 1000)
}

export function aRequest (shape: RequestShape = {}): GenerationRequest {
  const { numPromptTokens = 5, numChoices = 1, sampling = {}, outputTokens = [], ...rest } = shape
  const stream = numRequests++
  const choices = Array.from({ length: numChoices }, (_, choice) => ({
    // Choices of one request differ in their seed, so their outputs do.
    sampling: { ...greedySampling, ...numChoices > 1 ? { temperature: 1, seed: 100 + choice } : {}, ...sampling },
    outputTokens
  }))
  return {
    id: `r${stream}`,
    promptTokens: promptOf(numPromptTokens, stream),
    choices,
    maxTokens: 6,
    stopTokens: [],
    priority: 0,
    promptLogprobs: undefined,
    ...rest
  }
}

/** Scheduler, KV cache and checking runner, driven by hand; invariants are checked after every move. */
export class Harness {
  readonly runner: FakeModelRunner
  readonly kvCache: KVCache
  readonly scheduler: Scheduler
  readonly clock = new FakeClock()
  readonly events: GenerationEvent[] = []
  readonly batches: ForwardBatch[] = []
  readonly #inFlight: Array<{ readonly batch: ForwardBatch, readonly result: StepResult }> = []

  constructor ({ limits = {}, config = {}, prefixCaching = true, numHostSlots = 0, hostGroupSize = 1 }: HarnessOptions = {}) {
    this.runner = new FakeModelRunner(limits, undefined, { numSlots: numHostSlots, groupSize: hostGroupSize })
    const { numKVBlocks, blockSize } = this.runner.limits
    this.kvCache = new KVCache(kvCacheConfig({ numBlocks: numKVBlocks, blockSize, prefixCaching, numHostSlots, hostGroupSize }))
    this.scheduler = new Scheduler(schedulerConfig(config), this.kvCache, this.runner.limits, this.clock)
  }

  get numInFlight (): number {
    return this.#inFlight.length
  }

  add (shape: RequestShape = {}): GenerationRequest {
    const request = aRequest(shape)
    this.scheduler.add(request)
    for (const choice of request.choices.keys()) this.runner.expectPrompt(sequenceId(`${request.id}/${choice}`), request.promptTokens)
    this.#settle()
    return request
  }

  abort (request: GenerationRequest, choice?: number): void {
    this.scheduler.abort(request.id, choice)
    this.#settle()
  }

  /** Schedules and executes one step without completing it. */
  submit (): ForwardBatch | undefined {
    const batch = this.scheduler.schedule()
    if (batch !== undefined) {
      const tables = new Set(batch.sequences.flatMap(({ blockTable }) => blockTable))
      for (const { block } of batch.swapIns ?? []) if (!tables.has(block)) throw new Error(`block ${block} is swapped in for nobody`)
      this.batches.push(batch)
      this.#inFlight.push({ batch, result: this.runner.forward(batch) })
    }
    this.#settle()
    return batch
  }

  /** Completes the oldest step in flight. */
  complete (): GenerationEvent[] {
    const oldest = this.#inFlight.shift()
    if (oldest === undefined) return []
    this.runner.delivered(oldest.batch)
    const events = this.scheduler.complete(oldest.batch, oldest.result)
    this.events.push(...events)
    this.#settle()
    return events
  }

  step (): ForwardBatch | undefined {
    const batch = this.submit()
    this.complete()
    return batch
  }

  /** Runs until nothing is left to do, with up to `depth` steps in flight. */
  drain (depth = 2): void {
    for (let step = 0; step < 5_000; step++) {
      let submitted = true
      while (submitted && this.#inFlight.length < depth) submitted = this.submit() !== undefined
      if (this.#inFlight.length === 0) return
      this.complete()
    }
    throw new Error('the schedule does not end')
  }

  outputOf ({ id }: GenerationRequest, choice = 0): TokenId[] {
    return this.events.flatMap(event => event.type === 'token' && event.id === id && event.choice === choice ? [event.token] : [])
  }

  finishOf ({ id }: GenerationRequest, choice = 0): FinishReason | undefined {
    const finishes = this.events.flatMap(event => event.type === 'finish' && event.id === id && event.choice === choice ? [event.reason] : [])
    if (finishes.length > 1) throw new Error(`${id}/${choice} finished ${finishes.length} times`)
    return finishes[0]
  }

  scoresOf ({ id }: GenerationRequest): readonly ScoredToken[] | undefined {
    const scores = this.events.flatMap(event => event.type === 'prompt-scores' && event.id === id ? [event.scores] : [])
    if (scores.length > 1) throw new Error(`${id} was scored ${scores.length} times`)
    return scores[0]
  }

  /** What the choice generates when it runs alone with room to spare. */
  aloneOutputOf (request: GenerationRequest, choice = 0): TokenId[] {
    const { limits } = this.runner
    const longest = Math.min(limits.maxModelLen, limits.numKVBlocks * limits.blockSize + 1) - request.promptTokens.length
    const { sampling } = request.choices[choice] ?? { sampling: greedySampling }
    return continuation(limits, request.promptTokens, sampling, Math.min(request.maxTokens, longest), request.stopTokens)
  }

  #settle (): void {
    this.events.push(...this.scheduler.takeEvents())
    this.scheduler.checkInvariants()
  }
}
