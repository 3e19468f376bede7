import type { FinishReason, GenerationEvent, GenerationRequest } from '@daybreak/scheduler'
import type { TokenId } from '@daybreak/kvcache'
import type { EventStream } from './generation-stream.ts'

interface Choice {
  /** Everything delivered so far, so that another engine process can go on behind it. */
  readonly outputTokens: TokenId[]
  finished: boolean
}

/** An unfinished request: what was asked, what has been delivered, and so what a replay must still do. */
export class PendingRequest {
  readonly handle: number
  readonly request: GenerationRequest
  readonly stream: EventStream
  readonly #choices: readonly Choice[]
  /** Position among the choices last sent → the request's own choice index. */
  #sentChoices: readonly number[] = []
  #scheduled = false
  #scored = false
  /** In the present engine process. */
  sent = false
  /** Its tokens have been in a step since it was last sent; before that it only waits. */
  computing = false
  /** A token has come since it was last sent: the engine gets along with it. */
  proven = false
  paused = false
  /** Grows with each engine process that dies while it has this request; ReplayOrder's to keep. */
  suspicion = 0

  constructor (handle: number, request: GenerationRequest, stream: EventStream) {
    this.handle = handle
    this.request = request
    this.stream = stream
    this.#choices = request.choices.map(choice => ({ outputTokens: [...choice.outputTokens], finished: false }))
  }

  get finished (): boolean { return this.#choices.every(choice => choice.finished) }
  /** None of its tokens has been scheduled yet. */
  get waiting (): boolean { return !this.#scheduled }

  /**
   * The request as an engine process must see it now; undefined when nothing is left to generate. Finished choices are left out,
   * the others go on behind what they have, and a prompt that has been scored is not scored again.
   */
  takeForSending (engineId: string): GenerationRequest | undefined {
    const open = this.#choices.flatMap(({ finished }, index) => finished ? [] : [index])
    if (open.length === 0) return undefined
    this.#sentChoices = open
    this.sent = true
    this.computing = false
    this.proven = false
    return {
      ...this.request,
      id: engineId,
      choices: this.request.choices.flatMap(({ sampling }, index) => {
        const choice = this.#choices[index]
        return choice === undefined || choice.finished ? [] : [{ sampling, outputTokens: [...choice.outputTokens] }]
      }),
      promptLogprobs: this.#scored ? undefined : this.request.promptLogprobs
    }
  }

  /** Takes note of the engine's events; returns the ones its reader has not seen, under the request's own choice indices. */
  accept (events: readonly GenerationEvent[]): GenerationEvent[] {
    return events.flatMap((event): GenerationEvent[] => {
      switch (event.type) {
        case 'scheduled': {
          const first = !this.#scheduled
          this.#scheduled = true
          this.computing = true
          return first ? [event] : []
        }
        case 'prompt-scores': {
          const first = !this.#scored
          this.#scored = true
          return first ? [event] : []
        }
        case 'token':
        case 'finish': {
          const index = this.#sentChoices[event.choice]
          const choice = index === undefined ? undefined : this.#choices[index]
          if (index === undefined || choice === undefined || choice.finished) return []
          this.proven = true
          if (event.type === 'token') choice.outputTokens.push(event.token)
          else choice.finished = true
          return [{ ...event, choice: index }]
        }
        default:
          event satisfies never
          return []
      }
    })
  }

  /**
   * Ends what an engine process would have ended, had it lived to say so: choices whose last token was a stop token or the last
   * allowed, and a prompt that only was to be scored.
   */
  settle (): GenerationEvent[] {
    return this.#finishWhere(({ outputTokens }) => {
      const last = outputTokens.at(-1)
      if (last !== undefined && this.request.stopTokens.includes(last)) return { reason: 'stop', stopToken: last }
      if (this.request.maxTokens === 0 ? this.#scored : outputTokens.length >= this.request.maxTokens) return { reason: 'length' }
      return undefined
    })
  }

  /** Ends one choice, or all that are open; returns the events to deliver. */
  finish (reason: FinishReason, choice?: number, error?: { readonly code: string, readonly message: string }): GenerationEvent[] {
    return this.#finishWhere((_, index) => choice === undefined || choice === index ? { reason, ...(error && { error }) } : undefined)
  }

  /** What the engine process calls a choice of this request; undefined if it does not know it. */
  sentIndexOf (choice: number): number | undefined {
    const index = this.#sentChoices.indexOf(choice)
    return this.sent && index >= 0 ? index : undefined
  }

  #finishWhere (ending: (choice: Choice, index: number) => Partial<Extract<GenerationEvent, { type: 'finish' }>> & { reason: FinishReason } | undefined): GenerationEvent[] {
    return this.#choices.flatMap((choice, index) => {
      const end = choice.finished ? undefined : ending(choice, index)
      if (end === undefined) return []
      choice.finished = true
      return [{ type: 'finish', id: this.request.id, choice: index, stopToken: undefined, error: undefined, ...end }]
    })
  }
}
