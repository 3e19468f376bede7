import { mean, median, percentile, standardDeviation } from '../statistics.ts'
import { maxConcurrent, maxOutputTokensPerSecond, steadyState } from './concurrency-timeline.ts'
import { meetsObjectives } from './goodput.ts'
import type { Objectives } from './goodput.ts'
import { tpotOf } from './request-outcome.ts'
import type { RequestOutcome } from './request-outcome.ts'
import type { LoadRun } from './run-load.ts'

/** `firsttext` is ours: TTFT as tools count it that skip chunks without text. */
export const METRICS = Object.freeze(['ttft', 'tpot', 'itl', 'e2el', 'firsttext'] as const)
export type Metric = typeof METRICS[number]

export interface RunDescription {
  readonly backend: string
  readonly label: string | undefined
  readonly model: string
  readonly numPrompts: number
  readonly requestRate: number
  readonly burstiness: number
  readonly maxConcurrency: number | undefined
  readonly metadata: Readonly<Record<string, string>>
  readonly objectives: Objectives
  readonly metrics: readonly Metric[]
  /** 0 to 100. */
  readonly percentiles: readonly number[]
}

/** The result under vLLM's JSON keys, so that its readers take ours; what vLLM has no key for is under `daybreak`. */
export type ServingReport = Readonly<Record<string, unknown>>

/**
 * Computes every number of a run. Failed requests count in `failed` alone.
 * @param date when the run ended
 * @see vLLM's `bench serve`: TPOT is (E2EL - TTFT) / (output tokens - 1), ITL pools the gaps of all requests
 */
export function servingReport (run: LoadRun, about: RunDescription, date: Date): ServingReport {
  const completed = run.outcomes.filter(({ error }) => error === undefined)
  const total = (count: (outcome: RequestOutcome) => number): number => completed.reduce((sum, outcome) => sum + count(outcome), 0)
  const inputTokens = total(({ promptTokens }) => promptTokens)
  const outputTokens = total(({ outputTokens }) => outputTokens)
  const good = completed.filter(outcome => meetsObjectives(outcome, about.objectives)).length
  const steady = steadyState(completed)
  const perSecond = (count: number): number => run.duration > 0 ? count / run.duration : 0
  return {
    date: date.toISOString().slice(0, 19).replaceAll('-', '').replaceAll(':', '').replace('T', '-'),
    backend: about.backend,
    endpoint_type: about.backend,
    label: about.label ?? null,
    model_id: about.model,
    tokenizer_id: about.model,
    num_prompts: about.numPrompts,
    ...about.metadata,
    request_rate: about.requestRate === Infinity ? 'inf' : about.requestRate,
    burstiness: about.burstiness,
    max_concurrency: about.maxConcurrency ?? null,
    duration: run.duration,
    completed: completed.length,
    failed: run.outcomes.length - completed.length,
    total_input_tokens: inputTokens,
    total_output_tokens: outputTokens,
    request_throughput: perSecond(completed.length),
    request_goodput: about.objectives.size > 0 ? perSecond(good) : null,
    output_throughput: perSecond(outputTokens),
    total_token_throughput: perSecond(inputTokens + outputTokens),
    max_output_tokens_per_s: maxOutputTokensPerSecond(completed),
    max_concurrent_requests: maxConcurrent(completed),
    ...Object.assign({}, ...about.metrics.map(metric => summary(metric, secondsOf(metric, completed), about.percentiles))),
    daybreak: {
      client_lag: run.clientLag,
      mean_client_queue_ms: mean(completed.map(({ queueSeconds }) => queueSeconds)) * 1000,
      mean_first_text_ms: mean(completed.map(({ firstTextSeconds }) => firstTextSeconds)) * 1000,
      without_usage: completed.filter(({ hasUsage }) => !hasUsage).length,
      steady_state: steady === undefined
        ? null
        : {
            start: steady.start,
            duration: steady.duration,
            output_throughput: steady.outputThroughput,
            mean_tpot_ms: steady.meanTpotMs,
            requests: steady.numRequests
          }
    }
  }
}

/** What `--save-detailed` adds: one entry per request, in the order sent. */
export function detailedReport (run: LoadRun): ServingReport {
  return {
    input_lens: run.outcomes.map(({ promptTokens }) => promptTokens),
    output_lens: run.outcomes.map(({ outputTokens, error }) => error === undefined ? outputTokens : 0),
    ttfts: run.outcomes.map(({ ttft }) => ttft),
    itls: run.outcomes.map(({ itls }) => itls),
    start_times: run.outcomes.map(({ startTime }) => startTime),
    generated_texts: run.outcomes.map(({ text }) => text),
    errors: run.outcomes.map(({ error }) => error ?? '')
  }
}

function secondsOf (metric: Metric, completed: readonly RequestOutcome[]): number[] {
  switch (metric) {
    case 'ttft': return completed.map(({ ttft }) => ttft)
    case 'tpot': return completed.map(tpotOf).filter(tpot => tpot !== undefined)
    case 'itl': return completed.flatMap(({ itls }) => itls)
    case 'e2el': return completed.map(({ latency }) => latency)
    case 'firsttext': return completed.map(({ firstTextSeconds }) => firstTextSeconds)
  }
}

function summary (metric: Metric, seconds: readonly number[], percentiles: readonly number[]): Record<string, number> {
  const milliseconds = seconds.map(value => value * 1000)
  return {
    [`mean_${metric}_ms`]: mean(milliseconds),
    [`median_${metric}_ms`]: median(milliseconds),
    [`std_${metric}_ms`]: standardDeviation(milliseconds),
    ...Object.fromEntries(percentiles.map(rank => [`p${rank}_${metric}_ms`, percentile(milliseconds, rank)]))
  }
}
