import type { GenerationEvent } from '@daybreak/scheduler'
import type { GenerationStream } from './generation-service.ts'

export interface StreamControls {
  abort (choice: number | undefined): void
  pause (): void
  resume (): void
}

type Batch = readonly GenerationEvent[]

/**
 * One request's events on their way to one reader. What arrives while the reader is busy is joined into one array, so that a
 * backlog costs one promise, not one per token. Leaving the loop early aborts the request.
 */
export class EventStream implements GenerationStream {
  readonly #controls: StreamControls
  #backlog: GenerationEvent[] = []
  #wake: ((result: IteratorResult<Batch, undefined>) => void) | undefined
  #ended = false

  constructor (controls: StreamControls) {
    this.#controls = controls
  }

  push (events: Batch): void {
    if (this.#ended || events.length === 0) return
    const wake = this.#wake
    if (wake !== undefined) {
      this.#wake = undefined
      wake({ done: false, value: events })
    } else if (this.#backlog.length === 0) this.#backlog = [...events]
    else this.#backlog.push(...events)
  }

  /** Nothing will be pushed any more; what is waiting is still read. */
  end (): void {
    this.#ended = true
    this.#wake?.({ done: true, value: undefined })
    this.#wake = undefined
  }

  abort (choice?: number): void { this.#controls.abort(choice) }
  pause (): void { this.#controls.pause() }
  resume (): void { this.#controls.resume() }

  [Symbol.asyncIterator] (): AsyncIterator<Batch, undefined> {
    return {
      next: async () => await this.#next(),
      return: async () => {
        this.#backlog = []
        if (!this.#ended) this.#controls.abort(undefined)
        this.end()
        return { done: true, value: undefined }
      }
    }
  }

  #next (): Promise<IteratorResult<Batch, undefined>> {
    if (this.#backlog.length > 0) {
      const value = this.#backlog
      this.#backlog = []
      return Promise.resolve({ done: false, value })
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise(resolve => { this.#wake = resolve })
  }
}
