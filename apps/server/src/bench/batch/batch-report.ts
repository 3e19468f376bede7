import Table from 'cli-table3'
import type { BatchRunResult } from './run-batch.ts'

/** Steps at the end of a batch, when there is no more work to fill them, are not counted in its occupancy. */
const COUNTED = 0.95

/** What a policy came to. Shares are 0 to 1. */
export interface BatchSummary {
  readonly policy: string
  /** Prompt tokens that were not computed. */
  readonly savedShare: number
  readonly steps: number
  /** Median tokens of a step by the step's budget, in the first 95 % of the work. */
  readonly medianOccupancy: number
  readonly preemptions: number
  readonly seconds: number
  /** Prompt and output tokens together, computed or shared, by second. */
  readonly tokensPerSecond: number
}

export function summarize ({ policy, seconds, promptTokens, computedPromptTokens, outputTokens, preemptions, stepTokens }: BatchRunResult, budget: number): BatchSummary {
  return {
    policy,
    savedShare: 1 - computedPromptTokens / promptTokens,
    steps: stepTokens.length,
    medianOccupancy: medianBefore(stepTokens) / budget,
    preemptions,
    seconds,
    tokensPerSecond: (promptTokens + outputTokens) / seconds
  }
}

/**
 * @param best share that is saved when every shared beginning is computed once
 * @param timed whether seconds mean anything
 */
export function batchReportTable (summaries: readonly BatchSummary[], best: number, timed: boolean): string {
  const [first] = summaries
  const table = new Table({
    head: ['policy', 'prompt tokens saved', 'steps', 'median step', 'preemptions', ...timed ? ['s', 'tok/s', 'ratio'] : []],
    style: { head: [], border: [] }
  })
  for (const { policy, savedShare, steps, medianOccupancy, preemptions, seconds, tokensPerSecond } of summaries) {
    const times = [seconds.toFixed(1), Math.round(tokensPerSecond).toLocaleString('en'), (tokensPerSecond / (first?.tokensPerSecond ?? 1)).toFixed(2)]
    table.push([policy, percent(savedShare), steps, percent(medianOccupancy), preemptions, ...timed ? times : []])
  }
  return `${table.toString()}\nat best ${percent(best)} of the prompt tokens are saved\n`
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
