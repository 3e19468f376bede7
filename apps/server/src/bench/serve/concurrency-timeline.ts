import { mean } from '../statistics.ts'
import { tpotOf } from './request-outcome.ts'
import type { RequestOutcome } from './request-outcome.ts'

/** The longest stretch at (nearly) full load: what a system does when it is neither filling up nor running dry. */
export interface SteadyState {
  /** Seconds from the first request. */
  readonly start: number
  readonly duration: number
  /** Output tokens per second within it. */
  readonly outputThroughput: number
  readonly meanTpotMs: number
  readonly numRequests: number
}

// A plateau is left when fewer than this share of the most requests that ever ran at once are running.
const PLATEAU = 0.9

/** @param outcomes of requests that succeeded */
export function maxConcurrent (outcomes: readonly RequestOutcome[]): number {
  return steps(outcomes).reduce((most, { running }) => Math.max(most, running), 0)
}

/** Peak of the output tokens (as chunks) that arrived within one second, counted in whole seconds from the first request. */
export function maxOutputTokensPerSecond (outcomes: readonly RequestOutcome[]): number {
  const first = firstStart(outcomes)
  const perSecond = new Map<number, number>()
  for (const time of outcomes.flatMap(chunkTimes)) {
    const second = Math.floor(time - first)
    perSecond.set(second, (perSecond.get(second) ?? 0) + 1)
  }
  return [...perSecond.values()].reduce((most, count) => Math.max(most, count), 0)
}

/** From when the plateau is first reached until it is last left; undefined when nothing succeeded. */
export function steadyState (outcomes: readonly RequestOutcome[]): SteadyState | undefined {
  const timeline = steps(outcomes)
  const threshold = PLATEAU * maxConcurrent(outcomes)
  const from = timeline.find(({ running }) => running >= threshold)?.time
  const lastOnPlateau = timeline.findLastIndex(({ running }) => running >= threshold)
  const to = timeline[lastOnPlateau + 1]?.time
  if (from === undefined || to === undefined || to <= from) return undefined
  let tokens = 0
  const tpots: number[] = []
  let numRequests = 0
  for (const outcome of outcomes) {
    const times = chunkTimes(outcome)
    const numInside = times.filter(time => time >= from && time <= to).length
    // A chunk may carry several tokens: the request's tokens are spread evenly over its chunks.
    tokens += numInside * outcome.outputTokens / Math.max(times.length, 1)
    if (outcome.startTime >= from && outcome.startTime + outcome.latency <= to) {
      numRequests++
      const tpot = tpotOf(outcome)
      if (tpot !== undefined) tpots.push(tpot)
    }
  }
  const first = firstStart(outcomes)
  return { start: from - first, duration: to - from, outputThroughput: tokens / (to - from), meanTpotMs: mean(tpots) * 1000, numRequests }
}

function firstStart (outcomes: readonly RequestOutcome[]): number {
  return outcomes.reduce((first, { startTime }) => Math.min(first, startTime), Infinity)
}

/** How many requests run from each moment on at which that changes; at one moment ends come before starts. */
function steps (outcomes: readonly RequestOutcome[]): Array<{ readonly time: number, readonly running: number }> {
  const changes = outcomes.flatMap(({ startTime, latency }) => [{ time: startTime, by: 1 }, { time: startTime + latency, by: -1 }])
  changes.sort((a, b) => a.time - b.time || a.by - b.by)
  let running = 0
  return changes.map(({ time, by }) => {
    running += by
    return { time, running }
  })
}

function chunkTimes ({ startTime, ttft, itls }: RequestOutcome): number[] {
  let time = startTime + ttft
  return [time, ...itls.map(gap => {
    time += gap
    return time
  })]
}
