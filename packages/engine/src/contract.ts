/**
 * What the scheduler and the engine promise each other. Types only: importing this file loads no GPU code.
 */
import type { BlockTable, KVBlockMove, KVBlockSwap, SequenceId, TokenId } from '@daybreak/kvcache'

export type { KVBlockMove, KVBlockSwap } from '@daybreak/kvcache'

/** How to draw one token. Every field is set: defaults are applied at the API's edge, and nowhere else. */
export interface SamplingParams {
  /** 0 means greedy: the argmax, the lowest id on a tie. */
  readonly temperature: number
  /** Keep the k most likely tokens; 0 keeps all. */
  readonly topK: number
  /** Keep the smallest set of tokens whose probabilities sum to at least this; 1 keeps all. */
  readonly topP: number
  /** Drop tokens less likely than `minP` times the most likely one; 0 drops none. */
  readonly minP: number
  /** u32. With the position it determines the random number, so a replayed sequence draws the same tokens. */
  readonly seed: number
  /** Subtracted once from the logit of every token already generated. */
  readonly presencePenalty: number
  /** Subtracted from the logit of every token already generated, once per occurrence. */
  readonly frequencyPenalty: number
  /** Divides positive and multiplies negative logits of tokens in the prompt or already generated; 1 is off. */
  readonly repetitionPenalty: number
  /** Added to the logits of these tokens: each token once, at most 1,024 of them. */
  readonly logitBias: ReadonlyArray<readonly [TokenId, number]>
  /** `undefined`: no logprobs. 0: the sampled token's only. n ≤ 20: also the n most likely tokens'. */
  readonly numLogprobs: number | undefined
}

/** The tokens a sequence's penalties count, sent when it takes or retakes its row (`stateRow`). */
export interface TokenHistory {
  readonly promptTokens: readonly TokenId[]
  readonly outputTokens: readonly TokenId[]
}

/** One sequence's share of a step: a prompt chunk, or one decode token. */
export interface ForwardSequence {
  readonly id: SequenceId
  /**
   * Row of the engine's per-sequence state on the GPU (last sampled token, penalty counts), `0 ≤ row < limits.maxSequences`.
   * The sequence owns it from admission until it finishes, aborts or is preempted.
   */
  readonly stateRow: number
  /** Tokens to compute now. `undefined`: exactly one, the token last sampled into `stateRow`, which the host may not know yet. */
  readonly tokens: readonly TokenId[] | undefined
  /** Absolute position of the first token to compute. */
  readonly startPosition: number
  /** Covers at least `startPosition + numTokens` tokens. Never changed in place: it is checked when it is another than the state row had. */
  readonly blockTable: BlockTable
  /** Present when a token is to be sampled after the last computed position; absent while more of the prompt is to come. */
  readonly sampling: SamplingParams | undefined
  /** Present on the first forward after (re)admission when `sampling` carries any penalty. */
  readonly history: TokenHistory | undefined
  /**
   * For prompt logprobs (`echo` with `logprobs`): the token that follows each token computed now, as many as known
   * (`tokens.length`, or one less at the prompt's end); each is scored, and takes one of `limits.maxLogitRows`.
   */
  readonly scoreTargets: readonly TokenId[] | undefined
  /** Most likely alternatives to report with every score, 0 to 20. Present with `scoreTargets`. */
  readonly numScoreLogprobs: number | undefined
}

/** One step's work. Plain data: it can be logged, sent and replayed. Prefill chunks and decodes mix freely. */
export interface ForwardBatch {
  /** Counts up from 0; the engine executes batches in this order. */
  readonly step: number
  /** None only in a step that does nothing but swap. */
  readonly sequences: readonly ForwardSequence[]
  /** Copies to do before computing. No block is the target of two, or both a source and a target: any order will do. */
  readonly moves: readonly KVBlockMove[]
  /**
   * Blocks to copy to host memory before anything else of this step; absent: none. Each slot once, and none of a group of
   * `hostTier.groupSize` slots into which an earlier step's bytes are on their way still, or whose bytes are wanted still. What comes next
   * may overwrite the blocks: swap-ins, then moves, then computing.
   */
  readonly swapOuts?: readonly KVBlockSwap[]
  /**
   * Blocks to fill from host memory, after the swap-outs and before the moves; absent: none. The result of the step that filled a slot
   * must have come before; the next step may fill it again. Many blocks take a while, and steps that are handed over meanwhile wait.
   */
  readonly swapIns?: readonly KVBlockSwap[]
}

/** A token's log-probability under the raw logits (before penalties, bias and temperature), as vLLM reports them. */
export interface TokenLogprob { readonly token: TokenId; readonly logprob: number }

/** `logprob` means something only when `numLogprobs` was given. */
export interface SampledToken extends TokenLogprob {
  readonly id: SequenceId
  /** Most likely first; present when `numLogprobs` was. */
  readonly topLogprobs: readonly TokenLogprob[] | undefined
}

/** Scores of one `scoreTargets` entry. */
export interface ScoredToken extends TokenLogprob { readonly topLogprobs: readonly TokenLogprob[] }

export interface StepResult {
  /** One per sequence with `sampling`, in batch order. */
  readonly sampled: readonly SampledToken[]
  /** Per sequence that asked for scores: one per target, in order. */
  readonly scored: ReadonlyMap<SequenceId, readonly ScoredToken[]>
  /**
   * GPU time of the step if the adapter can tell, else host time from submit to result. Of steps that only decode not each is timed; those between
   * count as long as the one before. Seconds.
   */
  readonly deviceSeconds: number
  /** Host time spent encoding and submitting. Seconds. */
  readonly hostSeconds: number
  /**
   * What the step's swaps took of the device's time, waiting for the host included, or of the submitting thread's where that is more;
   * absent: it had none. Not in `deviceSeconds`. Seconds.
   */
  readonly swapSeconds?: number | undefined
}

/** Host memory for blocks of sequences that give way to others. Its content ends with the engine. */
export interface HostTier {
  /** Blocks it has room for: slots `0 ≤ slot < numSlots`. */
  readonly numSlots: number
  /** Slots `i · groupSize` to `(i + 1) · groupSize - 1` are one piece of memory: one step fills them, and reads them when it is done. */
  readonly groupSize: number
  /** For one block, one way, measured when the engine opened. Seconds. */
  readonly blockSeconds: number
}

export interface RunnerLimits {
  /** Tokens computed in one step, over all sequences. */
  readonly maxBatchedTokens: number
  /** Rows of per-sequence state; sequences in one step. */
  readonly maxSequences: number
  /** Logits rows in one step: sampled sequences plus score targets. */
  readonly maxLogitRows: number
  /** Longest sequence, prompt and output together. */
  readonly maxModelLen: number
  readonly numKVBlocks: number
  readonly blockSize: number
  readonly vocabSize: number
}

/**
 * Executes steps. Batches may be submitted before earlier ones have resolved (two in flight is the intended depth): they run
 * in order on the device, and a `tokens: undefined` decode reads what the step before it sampled without a host round trip.
 * Blocks and state rows freed by the scheduler may be reused by the very next batch: device order keeps that safe.
 * @throws EngineError (rejects) when the device is lost; the process is then of no further use.
 */
export interface ModelRunner extends AsyncDisposable {
  readonly limits: RunnerLimits
  /** Undefined: batches have no swaps. */
  readonly hostTier?: HostTier | undefined
  execute (batch: ForwardBatch): Promise<StepResult>
}
