import type { SamplingParams } from '@daybreak/engine/contract'
import type { FinishReason, GenerationEvent, GenerationRequest, SchedulerStats } from '@daybreak/scheduler'
import type { QueueLimits } from '../../apps/server/src/generation/admission.ts'
import type { EngineCapacity, GenerationService, GenerationStream, ServiceState, StepSummary } from '../../apps/server/src/generation/generation-service.ts'

export const fakeCapacity: EngineCapacity = {
  maxModelLen: 1000,
  maxSequences: 16,
  maxBatchedTokens: 256,
  vocabSize: 258,
  numKVBlocks: 64,
  numHostSlots: 0,
  blockSize: 16,
  dtype: 'f16',
  adapter: 'fake adapter',
  softwareAdapter: true,
}

export const idleStats: SchedulerStats = {
  numRunning: 0,
  numWaiting: 0,
  waitingTokens: 0,
  numBackground: 0,
  kvCacheUsage: 0,
  numSwapped: 0,
  hostTierUsage: 0,
  prefixCacheQueries: 0,
  prefixCacheHits: 0,
  promptTokensComputed: 0,
  generatedTokens: 0,
  swappedOutBlocks: 0,
  swappedInBlocks: 0,
  numPreemptions: 0,
  numSteps: 0,
}

/** What the fake did for one request: the test reads it, and steps it by hand when there is no script. */
export class FakeStream implements GenerationStream {
  readonly request: GenerationRequest
  readonly abortedChoices = new Set<number>()
  readonly pauses: Array<'pause' | 'resume'> = []
  paused = false
  #queue: Array<readonly GenerationEvent[]> = []
  #open: Set<number>
  #wake: (() => void) | undefined
  #changed: Array<() => void> = []

  constructor (request: GenerationRequest) {
    this.request = request
    this.#open = new Set(request.choices.keys())
  }

  get aborted (): boolean { return this.abortedChoices.size === this.request.choices.length }
  /** Nothing of it is left in the engine. */
  get released (): boolean { return this.#open.size === 0 }

  abort (choice?: number): void {
    for (const index of choice === undefined ? [...this.#open] : [choice]) {
      this.abortedChoices.add(index)
      this.finish('abort', index)
    }
    this.#notify()
  }

  pause (): void {
    this.paused = true
    this.pauses.push('pause')
    this.#notify()
  }

  resume (): void {
    this.paused = false
    this.pauses.push('resume')
    this.#notify()
  }

  /** One array of events, as one step delivers it. */
  emit (...events: readonly GenerationEvent[]): void {
    this.#queue.push(events)
    this.#wake?.()
  }

  scheduled (cachedTokens = 0): void {
    this.emit({ type: 'scheduled', id: this.request.id, cachedTokens })
  }

  token (token: number, choice = 0): void {
    if (this.#open.has(choice)) this.emit(this.tokenEvent(token, choice))
  }

  tokenEvent (token: number, choice = 0): GenerationEvent {
    const numLogprobs = this.request.choices[choice]?.sampling.numLogprobs
    return { type: 'token', id: this.request.id, choice, token, logprob: logprobOf(token), topLogprobs: topLogprobs(token, numLogprobs) }
  }

  finish (reason: FinishReason, choice = 0, detail: { readonly stopToken?: number, readonly error?: { code: string, message: string } } = {}): void {
    if (!this.#open.delete(choice)) return
    this.emit({ type: 'finish', id: this.request.id, choice, reason, stopToken: detail.stopToken, error: detail.error })
  }

  /** Resolves when `condition` holds; checked whenever the server acts on this stream. */
  async until (condition: (stream: FakeStream) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>(resolve => { this.#changed.push(resolve) })
  }

  async * [Symbol.asyncIterator] (): AsyncGenerator<readonly GenerationEvent[]> {
    while (true) {
      const events = this.#queue.shift()
      if (events !== undefined) yield events
      else if (this.#open.size === 0) return
      else await new Promise<void>(resolve => { this.#wake = resolve })
    }
  }

  #notify (): void {
    for (const wake of this.#changed.splice(0)) wake()
  }
}

export const logprobOf = (token: number): number => -((token % 7) + 1) / 8

export function topLogprobs (token: number, count: number | undefined) {
  if (count === undefined) return undefined
  return Array.from({ length: count }, (_, i) => ({ token: (token + i) % 256, logprob: logprobOf(token) - i }))
}

/** Answers a request the moment it arrives; left out, the test steps the stream. */
export type FakeScript = (stream: FakeStream) => void

/** A generation service without an engine: scripted or stepped by hand, and it remembers what it was asked. */
export class FakeGenerationService implements GenerationService {
  state: ServiceState = 'ready'
  capacity: EngineCapacity | undefined = fakeCapacity
  queueLimits: QueueLimits | undefined
  stats: SchedulerStats = idleStats
  progressing = true
  numRestarts = 0
  /** Thrown by the next `generate` calls while set. */
  refusal: Error | undefined
  readonly streams: FakeStream[] = []
  readonly #script: FakeScript | undefined
  readonly #stepListeners: Array<(step: StepSummary) => void> = []
  #arrivals: Array<() => void> = []

  constructor (script?: FakeScript) {
    this.#script = script
  }

  generate (request: GenerationRequest): GenerationStream {
    if (this.refusal !== undefined) throw this.refusal
    const stream = new FakeStream(request)
    this.streams.push(stream)
    this.#script?.(stream)
    for (const wake of this.#arrivals.splice(0)) wake()
    return stream
  }

  onStep (listener: (step: StepSummary) => void): void { this.#stepListeners.push(listener) }
  step (summary: StepSummary): void { for (const listener of this.#stepListeners) listener(summary) }

  /** The stream of the `index`-th request, once it has arrived. */
  async stream (index: number): Promise<FakeStream> {
    for (;;) {
      const stream = this.streams[index]
      if (stream !== undefined) return stream
      await new Promise<void>(resolve => { this.#arrivals.push(resolve) })
    }
  }

  sampling (index = 0): SamplingParams | undefined { return this.streams[index]?.request.choices[0]?.sampling }
}

/** Every choice says `text`, a byte per token and step, then stops with `reason`; cut off at the request's `maxTokens`. */
export function says (text: string, options: { readonly reason?: FinishReason, readonly cachedTokens?: number, readonly eos?: number } = {}): FakeScript {
  const bytes = [...new TextEncoder().encode(text)]
  return stream => {
    const { maxTokens, choices, promptTokens, promptLogprobs, id } = stream.request
    stream.scheduled(options.cachedTokens)
    if (promptLogprobs !== undefined) {
      stream.emit({ type: 'prompt-scores', id, scores: promptTokens.slice(1).map(token => ({ token, logprob: logprobOf(token), topLogprobs: topLogprobs(token, promptLogprobs) ?? [] })) })
    }
    for (const byte of bytes.slice(0, maxTokens)) {
      for (const choice of choices.keys()) stream.token(byte, choice)
    }
    const fits = bytes.length < maxTokens
    for (const choice of choices.keys()) {
      if (fits && options.eos !== undefined) stream.token(options.eos, choice)
      stream.finish(fits ? options.reason ?? 'stop' : 'length', choice, fits && options.eos !== undefined ? { stopToken: options.eos } : {})
    }
  }
}
