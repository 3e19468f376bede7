/**
 * One engine step as one message. Tokens, the bulk of it, travel as one flat Float64Array: a structured clone copies that in one
 * piece, where an array of event objects costs a property walk per token on both sides.
 */
import type { GenerationEvent, SchedulerStats } from '@daybreak/scheduler'
import type { StepSummary } from '../generation/generation-service.ts'

type EventOf<T extends GenerationEvent['type']> = Extract<GenerationEvent, { readonly type: T }>
/** An event that names its request by handle. */
type Addressed<E> = Omit<E, 'id'> & { readonly handle: number }

export interface StepMessage {
  readonly type: 'step'
  /** Come before the step's tokens. */
  readonly openings: ReadonlyArray<Addressed<EventOf<'scheduled'>> | Addressed<EventOf<'prompt-scores'>>>
  /** Rows of `[handle, choice, token, logprob]`. */
  readonly tokens: Float64Array
  /** For the rows that asked for them: `[token, logprob]` pairs, most likely first. */
  readonly topLogprobs: ReadonlyArray<{ readonly row: number, readonly pairs: Float64Array }>
  /** Come after the step's tokens. */
  readonly finishes: ReadonlyArray<Addressed<EventOf<'finish'>>>
  readonly stats: SchedulerStats
  /** Absent when the events came without a step, as an abort's do. */
  readonly summary: StepSummary | undefined
}

const ROW = 4

/** The id under which the engine process knows a request: unique over the server's life, and naming its handle. */
export const engineRequestId = (handle: number, id: string): string => `${handle}:${id}`

/** The handle in an id made by `engineRequestId`. */
export const handleOf = (engineId: string): number => Number.parseInt(engineId, 10)

/** Packs events; each request's own order survives, since openings precede and finishes follow its tokens. */
export function encodeStep (events: readonly GenerationEvent[], stats: SchedulerStats, summary: StepSummary | undefined): StepMessage {
  const openings: Array<StepMessage['openings'][number]> = []
  const rows: number[] = []
  const topLogprobs: Array<StepMessage['topLogprobs'][number]> = []
  const finishes: Array<StepMessage['finishes'][number]> = []
  for (const event of events) {
    const { id, ...rest } = event
    const handle = handleOf(id)
    switch (rest.type) {
      case 'scheduled':
      case 'prompt-scores':
        openings.push({ ...rest, handle })
        break
      case 'token':
        if (rest.topLogprobs !== undefined) {
          topLogprobs.push({ row: rows.length / ROW, pairs: Float64Array.from(rest.topLogprobs.flatMap(top => [top.token, top.logprob])) })
        }
        rows.push(handle, rest.choice, rest.token, rest.logprob)
        break
      case 'finish':
        finishes.push({ ...rest, handle })
        break
      default: rest satisfies never
    }
  }
  return { type: 'step', openings, tokens: Float64Array.from(rows), topLogprobs, finishes, stats, summary }
}

/** Unpacks a step into each request's events, in order. `idOf` gives the request's own id; a handle without one is skipped. */
export function decodeStep (message: StepMessage, idOf: (handle: number) => string | undefined): Map<number, GenerationEvent[]> {
  const byHandle = new Map<number, GenerationEvent[]>()
  const deliver = (handle: number, toEvent: (id: string) => GenerationEvent): void => {
    const id = idOf(handle)
    if (id === undefined) return
    const events = byHandle.get(handle)
    if (events === undefined) byHandle.set(handle, [toEvent(id)])
    else events.push(toEvent(id))
  }
  for (const { handle, ...event } of message.openings) deliver(handle, id => ({ ...event, id }))
  const alternatives = new Map(message.topLogprobs.map(({ row, pairs }) => [row, pairs]))
  const { tokens } = message
  for (let offset = 0; offset < tokens.length; offset += ROW) {
    const choice = tokens[offset + 1] ?? 0
    const token = tokens[offset + 2] ?? 0
    const logprob = tokens[offset + 3] ?? NaN
    const topLogprobs = tokenLogprobs(alternatives.get(offset / ROW))
    deliver(tokens[offset] ?? NaN, id => ({ type: 'token', id, choice, token, logprob, topLogprobs }))
  }
  for (const { handle, ...event } of message.finishes) deliver(handle, id => ({ ...event, id }))
  return byHandle
}

/** Whether a received value has the shape of a step, as far as decoding relies on it. */
export function isStepMessage (value: unknown): value is StepMessage {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'step' &&
    'tokens' in value && value.tokens instanceof Float64Array && value.tokens.length % ROW === 0 &&
    'openings' in value && Array.isArray(value.openings) && 'finishes' in value && Array.isArray(value.finishes) &&
    'topLogprobs' in value && Array.isArray(value.topLogprobs) && 'stats' in value
}

function tokenLogprobs (pairs: Float64Array | undefined): EventOf<'token'>['topLogprobs'] {
  if (pairs === undefined) return undefined
  return Array.from({ length: pairs.length / 2 }, (_, i) => ({ token: pairs[2 * i] ?? 0, logprob: pairs[2 * i + 1] ?? NaN }))
}
