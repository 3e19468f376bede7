import type { ModelRunner, RunnerLimits } from '@daybreak/engine/contract'

/** A runner that computes nothing and is done at once, for what only the scheduler decides: which tokens are computed, and in which steps. */
export function idleRunner (limits: RunnerLimits): ModelRunner {
  return {
    limits,
    async execute ({ sequences }) {
      const sampled = sequences.flatMap(({ id, sampling }) => sampling === undefined ? [] : [{ id, token: 0, logprob: 0, topLogprobs: undefined }])
      return { sampled, scored: new Map(), deviceSeconds: 0, hostSeconds: 0 }
    },
    async [Symbol.asyncDispose] () {}
  }
}
