import type { SchedulerStats } from '@daybreak/scheduler'

export const noStats: SchedulerStats = {
  numRunning: 0,
  numWaiting: 0,
  waitingTokens: 0,
  numBackground: 0,
  kvCacheUsage: 0,
  numSwapped: 0,
  hostTierUsage: 0,
  prefixCacheQueries: 0,
  prefixCacheHits: 0,
  promptTokensComputed: 0,
  generatedTokens: 0,
  swappedOutBlocks: 0,
  swappedInBlocks: 0,
  numPreemptions: 0,
  numSteps: 0
}

/** Counters that go on where an earlier engine process left them; gauges of the present one. */
export function continueCounters (earlier: SchedulerStats, present: SchedulerStats): SchedulerStats {
  return {
    ...present,
    prefixCacheQueries: earlier.prefixCacheQueries + present.prefixCacheQueries,
    prefixCacheHits: earlier.prefixCacheHits + present.prefixCacheHits,
    promptTokensComputed: earlier.promptTokensComputed + present.promptTokensComputed,
    generatedTokens: earlier.generatedTokens + present.generatedTokens,
    swappedOutBlocks: earlier.swappedOutBlocks + present.swappedOutBlocks,
    swappedInBlocks: earlier.swappedInBlocks + present.swappedInBlocks,
    numPreemptions: earlier.numPreemptions + present.numPreemptions,
    numSteps: earlier.numSteps + present.numSteps
  }
}
