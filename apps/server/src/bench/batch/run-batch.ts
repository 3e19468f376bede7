import type { ForwardBatch, ModelRunner, StepResult } from '@daybreak/engine/contract'
import { greedySampling } from '@daybreak/engine/greedy-sampling'
import { KVCache, kvCacheConfig } from '@daybreak/kvcache'
import { groupByPrefix, orderGroups, Scheduler, schedulerConfig, systemClock } from '@daybreak/scheduler'
import type { PrefixGroupMembership, PromptTokens } from '@daybreak/scheduler'

/**
 * `arrival`: in the order given, sharing what happens to be cached. `order`: groups one behind the other, sharing the same way.
 * `groups`: besides, a group's prefix is computed once and kept until its last member.
 */
export type BatchPolicy = 'arrival' | 'order' | 'groups'
export const BATCH_POLICIES: readonly BatchPolicy[] = ['arrival', 'order', 'groups']

export interface BatchRunResult {
  readonly policy: BatchPolicy
  readonly seconds: number
  /** For which the device computed; in what is missing of `seconds` it copied, or waited for the host. */
  readonly deviceSeconds: number
  /** Tokens of all prompts, and those of them that were computed. */
  readonly promptTokens: number
  readonly computedPromptTokens: number
  readonly outputTokens: number
  readonly preemptions: number
  /** Tokens of each step, in order. */
  readonly stepTokens: readonly number[]
}

export interface BatchRun {
  readonly policy: BatchPolicy
  readonly prompts: readonly PromptTokens[]
  /** Tokens that each prompt generates. */
  readonly outputTokens: readonly number[]
  /** Blocks of the KV cache, at most the runner's. */
  readonly kvBlocks: number | undefined
  readonly runner: ModelRunner
  /** Seconds, monotonic. */
  readonly now: () => number
  readonly onProgress: (done: number, total: number) => void
}

const STEPS_IN_FLIGHT = 2

/** Runs a whole batch through a scheduler of its own: two steps in flight, twice as many requests queued as can run. */
export async function runBatch ({ policy, prompts, outputTokens, kvBlocks, runner, now, onProgress }: BatchRun): Promise<BatchRunResult> {
  const limits = { ...runner.limits, numKVBlocks: Math.min(kvBlocks ?? Infinity, runner.limits.numKVBlocks) }
  const { numKVBlocks, blockSize, maxSequences } = limits
  const kvCache = new KVCache(kvCacheConfig({ numBlocks: numKVBlocks, blockSize }))
  const scheduler = new Scheduler(schedulerConfig({ maxWaitingRequests: Number.MAX_SAFE_INTEGER, maxWaitingTokens: Number.MAX_SAFE_INTEGER }), kvCache, limits, systemClock)
  const startedAt = now()
  const ordered = orderOf(policy, prompts, outputTokens, blockSize)
  const inFlight: Array<{ readonly batch: ForwardBatch, readonly result: Promise<StepResult> }> = []
  const stepTokens: number[] = []
  let [next, open, deviceSeconds] = [0, 0, 0]
  const feed = (): void => {
    for (; open < 2 * maxSequences && next < ordered.length; open++) {
      const { index, prefixGroup } = ordered[next++] ?? { index: 0, prefixGroup: undefined }
      scheduler.add({
        id: String(index),
        promptTokens: plainArray(prompts[index] ?? []),
        choices: [{ sampling: greedySampling, outputTokens: [] }],
        maxTokens: outputTokens[index] ?? 1,
        stopTokens: [],
        priority: 0,
        promptLogprobs: undefined,
        background: true,
        prefixGroup
      })
    }
  }
  try {
    for (;;) {
      feed()
      const batch = inFlight.length < STEPS_IN_FLIGHT ? scheduler.schedule() : undefined
      if (batch !== undefined) {
        stepTokens.push(batch.sequences.reduce((sum, { tokens }) => sum + (tokens?.length ?? 1), 0))
        inFlight.push({ batch, result: runner.execute(batch) })
        continue
      }
      const oldest = inFlight.shift()
      if (oldest === undefined) break
      const result = await oldest.result
      deviceSeconds += result.deviceSeconds
      for (const { type } of scheduler.complete(oldest.batch, result)) if (type === 'finish') open--
      onProgress(next - open, prompts.length)
    }
  } finally {
    await Promise.allSettled(inFlight.map(({ result }) => result))
  }
  const { promptTokensComputed, generatedTokens, numPreemptions } = scheduler.stats()
  return {
    policy,
    seconds: now() - startedAt,
    deviceSeconds,
    promptTokens: prompts.reduce((sum, { length }) => sum + length, 0),
    computedPromptTokens: promptTokensComputed,
    outputTokens: generatedTokens,
    preemptions: numPreemptions,
    stepTokens
  }
}

/** What `Array.from` gives, which walks a typed array by its iterator: of a long prompt half a step's time. */
function plainArray (tokens: PromptTokens): number[] {
  const plain = new Array<number>(tokens.length)
  for (let i = 0; i < tokens.length; i++) plain[i] = tokens[i] ?? 0
  return plain
}

function orderOf (policy: BatchPolicy, prompts: readonly PromptTokens[], outputTokens: readonly number[], blockSize: number): Array<{ readonly index: number, readonly prefixGroup: PrefixGroupMembership | undefined }> {
  if (policy === 'arrival') return Array.from(prompts, (_, index) => ({ index, prefixGroup: undefined }))
  const works = prompts.map(({ length }, index) => ({ promptTokens: length, outputTokens: outputTokens[index] ?? 1 }))
  return orderGroups(groupByPrefix(prompts, blockSize), works).flatMap(({ prefixLength, members }, group) => {
    const prefixGroup = policy === 'groups' && prefixLength > 0 ? { id: String(group), length: prefixLength } : undefined
    return members.map(index => ({ index, prefixGroup }))
  })
}
