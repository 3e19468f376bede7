import type { SamplingParams, ScoredToken } from '@daybreak/engine/contract'
import { sequenceId } from '@daybreak/kvcache'
import type { SequenceId, TokenId } from '@daybreak/kvcache'
import type { GenerationRequest, PrefixGroupMembership } from './generation.ts'

/**
 * `waiting`: holds nothing, unless it is swapped. `running`: holds a state row and KV blocks. `finished`: holds nothing and never will.
 */
export type SequencePhase = 'waiting' | 'running' | 'finished'

/**
 * One choice of one request: its tokens and how far they are scheduled.
 *
 * Counts run ahead of values. `numComputed` and `length` include steps in flight, whose sampled tokens the host does not
 * know yet; `tokens` holds the known ones only.
 */
export class Sequence {
  readonly id: SequenceId
  readonly group: SequenceGroup
  readonly choice: number
  readonly sampling: SamplingParams
  /** Prompt and output known so far. */
  readonly tokens: TokenId[]
  /** Most tokens it may ever have, prompt and output together. */
  readonly maxLength: number
  phase: SequencePhase = 'waiting'
  stateRow = -1
  /** Positions whose K and V are computed by the steps scheduled so far. */
  numComputed = 0
  /** While it waits: its computed positions are in host memory. */
  swapped = false
  /** Tokens sampled by steps in flight. */
  numInFlight = 0
  /** The next forward must carry the token history, because the row has none of this sequence's counts. */
  historyDue = false
  /** Prompt tokens are scored as they are computed, since the last admission. */
  scoring = false
  numPreemptions = 0

  constructor (group: SequenceGroup, choice: number, sampling: SamplingParams, outputTokens: readonly TokenId[], maxLength: number) {
    this.id = sequenceId(`${group.id}/${choice}`)
    this.group = group
    this.choice = choice
    this.sampling = sampling
    this.tokens = [...group.promptTokens, ...outputTokens]
    this.maxLength = maxLength
  }

  /** Tokens known or in flight. */
  get length (): number {
    return this.tokens.length + this.numInFlight
  }

  /** Positions that can be computed now. The last token of the longest output needs no K and V: nothing follows it. */
  get numRemaining (): number {
    const last = this.samplesNothing ? this.group.numPromptTokens : this.maxLength - 1
    return Math.min(this.length, last) - this.numComputed
  }

  /** Its request asks for no output: the prompt is computed, perhaps scored, and that is all. */
  get samplesNothing (): boolean {
    return this.maxLength === this.group.numPromptTokens
  }

  get isPromptComputed (): boolean {
    return this.numComputed >= this.group.numPromptTokens
  }

  /** One token is to be computed, behind those of a prompt that is. */
  get isDecode (): boolean {
    return this.isPromptComputed && this.numRemaining === 1
  }

  get carriesPenalty (): boolean {
    const { presencePenalty, frequencyPenalty, repetitionPenalty } = this.sampling
    return presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1
  }

  /** The order in which sequences are served: background work last; then lower priority, earlier arrival, lower choice. */
  precedes (other: Sequence): boolean {
    const { group: a } = this
    const { group: b } = other
    if (a.background !== b.background) return b.background
    if (a.priority !== b.priority) return a.priority < b.priority
    if (a.arrival !== b.arrival) return a.arrival < b.arrival
    return this.choice < other.choice
  }
}

/** The choices of one request, which share its prompt. */
export class SequenceGroup {
  readonly id: string
  readonly promptTokens: readonly TokenId[]
  readonly stopTokens: ReadonlySet<TokenId>
  readonly priority: number
  readonly background: boolean
  /** Counts requests in order of arrival. */
  readonly arrival: number
  readonly arrivedAt: number
  readonly sequences: readonly Sequence[]
  /** Alternatives to report per prompt token; undefined: the prompt is not scored. */
  readonly promptLogprobs: number | undefined
  /** Undefined: in no group whose prefix is to be shared. */
  readonly prefixGroup: PrefixGroupMembership | undefined
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
    this.background = request.background ?? false
    this.arrival = arrival
    this.arrivedAt = arrivedAt
    // Scores go out before the first token, so a request resumed with output has had them.
    const resumed = request.choices.some(({ outputTokens }) => outputTokens.length > 0)
    this.promptLogprobs = resumed ? undefined : request.promptLogprobs
    // What is scored is computed anew, all of it.
    this.prefixGroup = this.promptLogprobs === undefined ? request.prefixGroup : undefined
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
