import type { ScoredToken } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'
import type { GenerationRequest } from './generation.ts'
import { Sequence } from './sequence.ts'

/** The choices of one request, which share its prompt. */
export class SequenceGroup {
  readonly id: string
  readonly promptTokens: readonly TokenId[]
  readonly stopTokens: ReadonlySet<TokenId>
  readonly priority: number
  /** Counts requests in order of arrival. */
  readonly arrival: number
  readonly arrivedAt: number
  readonly sequences: readonly Sequence[]
  /** Alternatives to report per prompt token; undefined: the prompt is not scored. */
  readonly promptLogprobs: number | undefined
  readonly #scores: ScoredToken[] = []
  scoresReported = false
  paused = false
  /** Some of its tokens have been scheduled. */
  started = false

  /** @param maxLength most tokens of one choice, prompt and output together */
  constructor (request: GenerationRequest, arrival: number, arrivedAt: number, maxLength: number) {
    this.id = request.id
    this.promptTokens = request.promptTokens
    this.stopTokens = new Set(request.stopTokens)
    this.priority = request.priority
    this.arrival = arrival
    this.arrivedAt = arrivedAt
    // Scores go out before the first token, so a request resumed with output has had them.
    const resumed = request.choices.some(({ outputTokens }) => outputTokens.length > 0)
    this.promptLogprobs = resumed ? undefined : request.promptLogprobs
    this.sequences = request.choices.map(({ sampling, outputTokens }, choice) =>
      new Sequence(this, choice, sampling, outputTokens, maxLength))
  }

  get numPromptTokens (): number {
    return this.promptTokens.length
  }

  get isFinished (): boolean {
    return this.sequences.every(({ phase }) => phase === 'finished')
  }

  /** Tokens after the prompt's first one still lack a score. */
  get awaitsScores (): boolean {
    return this.promptLogprobs !== undefined && !this.scoresReported
  }

  /** The choice that computes the prompt for all: the first that is not finished. */
  get leader (): Sequence | undefined {
    return this.sequences.find(({ phase }) => phase !== 'finished')
  }

  /** A choice whose prompt was computed by an earlier step and is still in the KV cache, for `sequence` to fork. */
  forkSource (sequence: Sequence): Sequence | undefined {
    return this.sequences.find(other => other !== sequence && other.phase === 'running' && other.isPromptComputed)
  }

  /**
   * Keeps the scores of the prompt tokens behind `start`. Those of a prompt computed twice, after a preemption, are kept once.
   * @returns all of them when none is missing any more, and only once.
   */
  addScores (start: number, scores: readonly ScoredToken[]): readonly ScoredToken[] | undefined {
    if (!this.awaitsScores) return undefined
    this.#scores.push(...scores.slice(Math.max(0, this.#scores.length - start)))
    if (this.#scores.length < this.numPromptTokens - 1) return undefined
    this.scoresReported = true
    return this.#scores
  }
}
