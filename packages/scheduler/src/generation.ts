/** What a caller asks of the scheduler, and what it hears back. */
import type { SamplingParams, ScoredToken, TokenLogprob } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'

/** One request: a prompt continued `numChoices` times. Choices share the prompt's KV blocks. */
export interface GenerationRequest {
  /** Unique among unfinished requests. */
  readonly id: string
  readonly promptTokens: readonly TokenId[]
  readonly choices: readonly ChoiceRequest[]
  /** Most tokens each choice may generate, counting `outputTokens`; 0 only scores the prompt. */
  readonly maxTokens: number
  /** Sampling one of these ends the choice with `stop`; the token is reported, its text is the caller's to hide. */
  readonly stopTokens: readonly TokenId[]
  /** Lower runs earlier (vLLM's sign); equal priorities run in order of arrival. */
  readonly priority: number
  /** `undefined`: none; n: score every prompt token with its n most likely alternatives (turns prefix reuse off for it). */
  readonly promptLogprobs: number | undefined
  /**
   * Work that nobody waits for: behind everything else, whatever its priority, and outside the queue's bounds. It runs in steps that
   * have nothing else to do, and gives up its place for whoever comes; that does not count against it.
   */
  readonly background?: boolean | undefined
  /** Absent: it shares what happens to be cached. */
  readonly prefixGroup?: PrefixGroupMembership | undefined
}

/**
 * Requests known to begin alike. Their prefix is computed once, while the others wait for it, and keeps its KV blocks as long as one
 * of them is unfinished, which a cache that forgets what was used longest ago does not promise.
 * @see BatchLLM (arXiv 2412.03594)
 */
export interface PrefixGroupMembership {
  /** The same for all members, and for nobody else. */
  readonly id: string
  /** Tokens that all members' prompts begin with. Whole blocks of them are shared. */
  readonly length: number
}

export interface ChoiceRequest {
  readonly sampling: SamplingParams
  /** Tokens this choice generated before an engine restart; generation goes on behind them. Normally empty. */
  readonly outputTokens: readonly TokenId[]
}

export type FinishReason = 'stop' | 'length' | 'abort' | 'error'

/** Events of one request, in order; every choice ends with exactly one `finish`. */
export type GenerationEvent =
  /** First time any of the request's tokens is scheduled: ends its queue time. */
  | { readonly type: 'scheduled'; readonly id: string; readonly cachedTokens: number }
  | { readonly type: 'prompt-scores'; readonly id: string; readonly scores: readonly ScoredToken[] }
  | {
    readonly type: 'token'
    readonly id: string
    readonly choice: number
    readonly token: TokenId
    readonly logprob: number
    readonly topLogprobs: readonly TokenLogprob[] | undefined
  }
  | {
    readonly type: 'finish'
    readonly id: string
    readonly choice: number
    readonly reason: FinishReason
    /** The stop token sampled, when `reason` is `stop`. */
    readonly stopToken: TokenId | undefined
    /** Why, when `reason` is `error`: a stable code and a sentence. */
    readonly error: { readonly code: string; readonly message: string } | undefined
  }

/** A snapshot for metrics, gauges unless said otherwise. */
export interface SchedulerStats {
  readonly numRunning: number
  /** These two without background work, which is no sign of a server that cannot keep up. */
  readonly numWaiting: number
  readonly waitingTokens: number
  /** Unfinished sequences of background work, running or waiting. */
  readonly numBackground: number
  /** 0..1 of the KV blocks held by unfinished sequences. */
  readonly kvCacheUsage: number
  /** Preempted sequences whose blocks wait in host memory; among the waiting ones. */
  readonly numSwapped: number
  /** 0..1 of host memory's room for blocks. */
  readonly hostTierUsage: number
  /** Counters, in tokens since start. */
  readonly prefixCacheQueries: number
  readonly prefixCacheHits: number
  readonly promptTokensComputed: number
  readonly generatedTokens: number
  /** Counters, in blocks copied to host memory and back since start. */
  readonly swappedOutBlocks: number
  readonly swappedInBlocks: number
  /** Counters, in events since start. */
  readonly numPreemptions: number
  readonly numSteps: number
}
