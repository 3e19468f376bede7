import type { GenerationEvent, GenerationRequest } from '@daybreak/scheduler'
import type { GenerationService, GenerationStream, StepSummary } from '../../apps/server/src/generation/generation-service.ts'
import { fakeCapacity, idleStats } from '../fakes/fake-generation-service.ts'

/** A stream that is fed one token per step until its choice has `maxTokens`. */
class InstantStream implements GenerationStream {
  readonly #request: GenerationRequest
  #ready: GenerationEvent[][] = []
  #numTokens = 0
  #done = false
  #wake: (() => void) | undefined
  paused = false

  constructor (request: GenerationRequest) {
    this.#request = request
    this.#ready.push([{ type: 'scheduled', id: request.id, cachedTokens: 0 }])
  }

  get done (): boolean { return this.#done }

  step (): void {
    const { id, maxTokens } = this.#request
    // The letters in turn.
    const token = 97 + this.#numTokens % 26
    const events: GenerationEvent[] = [{ type: 'token', id, choice: 0, token, logprob: -1, topLogprobs: undefined }]
    if (++this.#numTokens >= maxTokens) {
      events.push({ type: 'finish', id, choice: 0, reason: 'length', stopToken: undefined, error: undefined })
      this.#done = true
    }
    this.#ready.push(events)
    this.#wake?.()
  }

  abort (): void {
    this.#done = true
    this.#wake?.()
  }

  pause (): void { this.paused = true }
  resume (): void { this.paused = false }

  async * [Symbol.asyncIterator] (): AsyncGenerator<readonly GenerationEvent[]> {
    for (;;) {
      const events = this.#ready.shift()
      if (events !== undefined) yield events
      else if (this.#done) return
      else await new Promise<void>(resolve => { this.#wake = resolve })
    }
  }
}

/** An engine whose steps take no time: one token for every stream per turn of the event loop. */
export class InstantEngine implements GenerationService {
  readonly state = 'ready'
  readonly capacity = { ...fakeCapacity, maxModelLen: 1_000_000 }
  readonly stats = idleStats
  readonly progressing = true
  readonly numRestarts = 0
  readonly #streams = new Set<InstantStream>()
  readonly #listeners: Array<(step: StepSummary) => void> = []

  generate (request: GenerationRequest): GenerationStream {
    const stream = new InstantStream(request)
    if (this.#streams.size === 0) setImmediate(() => this.#step())
    this.#streams.add(stream)
    return stream
  }

  onStep (listener: (step: StepSummary) => void): void { this.#listeners.push(listener) }

  #step (): void {
    const summary = { numTokens: this.#streams.size, numSequences: this.#streams.size, hostSeconds: 0, deviceSeconds: 0 }
    for (const listener of this.#listeners) listener(summary)
    for (const stream of this.#streams) {
      if (!stream.paused) stream.step()
      if (stream.done) this.#streams.delete(stream)
    }
    if (this.#streams.size > 0) setImmediate(() => this.#step())
  }
}
