import Table from 'cli-table3'
import type { BatchCase } from './batch-cases.ts'
import type { BatchRunResult } from './run-batch.ts'

/** Steps at the end of a batch, when there is no more work to fill them, are not counted in its occupancy. */
const COUNTED = 0.95

/** What a policy came to. Shares are 0 to 1. */
export interface BatchSummary {
  /** Which of several batches or caches; empty where there is one. */
  readonly name: string
  readonly policy: string
  /** Prompt tokens that were not computed. */
  readonly savedShare: number
  /** What could be saved. */
  readonly bestSavedShare: number
  readonly steps: number
  /** Median tokens of a step by the step's budget, in the first 95 % of the work. */
  readonly medianOccupancy: number
  readonly preemptions: number
  readonly seconds: number
  /** Of them, the device's work; more than all of them where the adapter has no timestamps, and steps in flight count twice. */
  readonly deviceSeconds: number
  /** Prompt and output tokens together, computed or shared, by second. */
  readonly tokensPerSecond: number
}

export function summarize ({ name, bestSavedShare }: BatchCase, { policy, seconds, deviceSeconds, promptTokens, computedPromptTokens, outputTokens, preemptions, stepTokens }: BatchRunResult, budget: number): BatchSummary {
  return {
    name,
    policy,
    bestSavedShare,
    savedShare: 1 - computedPromptTokens / promptTokens,
    steps: stepTokens.length,
    medianOccupancy: medianBefore(stepTokens) / budget,
    preemptions,
    seconds,
    deviceSeconds,
    tokensPerSecond: (promptTokens + outputTokens) / seconds
  }
}

/**
 * Ratios are to the first policy of the same batch.
 * @param timed whether seconds mean anything
 */
export function batchReportTable (summaries: readonly BatchSummary[], timed: boolean): string {
  const named = summaries.some(({ name }) => name !== '')
  const table = new Table({
    head: [...named ? ['batch'] : [], 'policy', 'prompt tokens saved', 'of what could be', 'steps', 'median step', 'preemptions', ...timed ? ['s', 'device busy', 'tok/s', 'ratio'] : []],
    style: { head: [], border: [] }
  })
  for (const { name, policy, savedShare, bestSavedShare, steps, medianOccupancy, preemptions, seconds, deviceSeconds, tokensPerSecond } of summaries) {
    const times = [seconds.toFixed(1), deviceSeconds <= seconds ? percent(deviceSeconds / seconds) : '-', Math.round(tokensPerSecond).toLocaleString('en'), (tokensPerSecond / (summaries.find(other => other.name === name)?.tokensPerSecond ?? 1)).toFixed(2)]
    table.push([...named ? [name] : [], policy, percent(savedShare), bestSavedShare > 0 ? percent(savedShare / bestSavedShare) : '-', steps, percent(medianOccupancy), preemptions, ...timed ? times : []])
  }
  const best = [...new Set(summaries.map(({ bestSavedShare }) => percent(bestSavedShare)))].join(', ')
  return `${table.toString()}\nat best, with an infinite cache, ${best} of the prompt tokens are saved\n`
}

/** Of the steps in which the first 95 % of all tokens were computed. */
function medianBefore (stepTokens: readonly number[]): number {
  const total = stepTokens.reduce((sum, tokens) => sum + tokens, 0)
  let done = 0
  const counted = stepTokens.filter(tokens => (done += tokens) <= COUNTED * total).sort((a, b) => a - b)
  return counted[Math.floor(counted.length / 2)] ?? 0
}

function percent (share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
