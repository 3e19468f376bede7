import type { ForwardBatch } from '@daybreak/engine/contract'
import { KVCache, kvCacheConfig } from '@daybreak/kvcache'
import { Scheduler, schedulerConfig } from '@daybreak/scheduler'
import type { SchedulerConfig } from '@daybreak/scheduler'
import { FakeClock } from '../fakes/fake-clock.ts'
import { greedySampling } from '../fakes/fake-model.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'

/** What a step of so many tokens takes, in seconds: an H100 with a model of 1.2 billion parameters, roughly. */
export const stepSeconds = (tokens: number): number => 1.2e-3 + 10.5e-6 * tokens

export interface Load {
  /** Requests that somebody waits for: how many, how many a second, as a Poisson process. */
  readonly requests: number
  readonly rate: number
  readonly promptTokens: number
  readonly outputTokens: number
  /** A batch behind them that never ends. */
  readonly batch: boolean
  readonly config?: Partial<SchedulerConfig>
  readonly seed: number
}

export interface Latencies {
  /** Seconds to the first token, and between two, ascending. */
  readonly toFirst: readonly number[]
  readonly between: readonly number[]
  /** Tokens a second of the batch. */
  readonly batchRate: number
}

interface Waiting { readonly arrivedAt: number, lastAt: number | undefined }

/**
 * The scheduler before a device that takes `stepSeconds` for a step and keeps two in its queue, in simulated time: the same
 * numbers on every machine.
 */
export function simulate ({ requests, rate, promptTokens, outputTokens, batch, config = {}, seed }: Load): Latencies {
  // Arrivals are the same with and without a batch.
  const [arrivals, prompts] = [new SeededRandom(seed), new SeededRandom(seed + 1)]
  const clock = new FakeClock()
  const limits = { maxBatchedTokens: 2048, maxSequences: 64, maxLogitRows: 64, maxModelLen: 4096, numKVBlocks: 16_384, blockSize: 16, vocabSize: 32_000 }
  const scheduler = new Scheduler(schedulerConfig({ maxWaitingRequests: 1e6, maxWaitingTokens: 1e9, ...config }), new KVCache(kvCacheConfig({ numBlocks: limits.numKVBlocks, blockSize: 16 })), limits, clock)
  const add = (id: string, background: boolean): void => scheduler.add({
    id,
    promptTokens: Array.from({ length: promptTokens }, () => prompts.integer(32_000)),
    choices: [{ sampling: greedySampling, outputTokens: [] }],
    maxTokens: outputTokens,
    stopTokens: [],
    priority: 0,
    promptLogprobs: undefined,
    background,
    prefixGroup: undefined
  })
  const waiting = new Map<string, Waiting>()
  const inFlight: Array<{ readonly step: ForwardBatch, readonly endsAt: number }> = []
  const [toFirst, between]: [number[], number[]] = [[], []]
  let [arrived, open, batchTokens, batched, deviceFreeAt, nextArrival] = [0, 0, 0, 0, 0, 0]
  const feedBatch = (): void => { for (; open < 128; open++) add(`b${batched++}`, true) }
  const finish = ({ step }: { readonly step: ForwardBatch }): void => {
    const sampled = step.sequences.flatMap(({ id, sampling }) => sampling === undefined ? [] : [{ id, token: 1, logprob: 0, topLogprobs: undefined }])
    for (const event of scheduler.complete(step, { sampled, scored: new Map(), deviceSeconds: 0, hostSeconds: 0 })) {
      const request = waiting.get(event.id)
      if (event.type === 'token' && request !== undefined) {
        if (request.lastAt === undefined) toFirst.push(clock.now() - request.arrivedAt)
        else between.push(clock.now() - request.lastAt)
        request.lastAt = clock.now()
      }
      if (event.type === 'finish') {
        if (!waiting.delete(event.id)) open--
      }
    }
  }
  while (arrived < requests || waiting.size > 0) {
    if (batch) feedBatch()
    while (inFlight.length < 2) {
      const step = scheduler.schedule()
      if (step === undefined) break
      const tokens = step.sequences.reduce((sum, { tokens }) => sum + (tokens?.length ?? 1), 0)
      if (step.sequences.some(({ id }) => id.startsWith('b'))) batchTokens += tokens
      deviceFreeAt = Math.max(deviceFreeAt, clock.now()) + stepSeconds(tokens)
      inFlight.push({ step, endsAt: deviceFreeAt })
    }
    const stepEnds = inFlight[0]?.endsAt ?? Infinity
    const arrives = arrived < requests ? nextArrival : Infinity
    if (arrives <= stepEnds) {
      clock.advance(arrives - clock.now())
      waiting.set(`r${arrived}`, { arrivedAt: clock.now(), lastAt: undefined })
      add(`r${arrived++}`, false)
      nextArrival += -Math.log(1 - arrivals.uniform()) / rate
    } else {
      clock.advance(stepEnds - clock.now())
      const oldest = inFlight.shift()
      if (oldest !== undefined) finish(oldest)
    }
  }
  const ascending = (values: number[]): number[] => values.sort((a, b) => a - b)
  return { toFirst: ascending(toFirst), between: ascending(between), batchRate: batchTokens / clock.now() }
}

/** The smallest value that so large a share does not exceed. */
export function percentile (ascending: readonly number[], share: number): number {
  return ascending[Math.min(ascending.length - 1, Math.ceil(share * ascending.length) - 1)] ?? NaN
}
