import { QueueFullError } from '../errors.ts'
import { QueueTokensExceededError } from './errors.ts'

export interface QueueLimits {
  /** Requests accepted and not yet scheduled. */
  readonly maxRequests: number
  /** Prompt tokens of those requests. One request is always let in, however long. */
  readonly maxTokens: number
}

/** Weight of one step in the running estimate of throughput. */
const SMOOTHING = 0.05

/** The bounded queue's books: who waits, and how long the next one might. The requests themselves wait in the engine process. */
export class Admission {
  readonly #limits: QueueLimits
  readonly #waiting = new Map<number, number>()
  #waitingTokens = 0
  #tokensPerSecond = 0
  #lastStep: number | undefined

  constructor (limits: QueueLimits) {
    this.#limits = limits
  }

  get numWaiting (): number { return this.#waiting.size }
  get waitingTokens (): number { return this.#waitingTokens }

  /**
   * Enters a request.
   * @throws QueueFullError, QueueTokensExceededError
   */
  enter (handle: number, numTokens: number): void {
    const { maxRequests, maxTokens } = this.#limits
    const numWaiting = this.#waiting.size
    if (numWaiting >= maxRequests) {
      throw new QueueFullError({ numWaiting, limit: maxRequests, retryAfterSeconds: this.#retryAfterSeconds() })
    }
    if (numWaiting > 0 && this.#waitingTokens + numTokens > maxTokens) {
      throw new QueueTokensExceededError({ waitingTokens: this.#waitingTokens, limit: maxTokens, retryAfterSeconds: this.#retryAfterSeconds() })
    }
    this.#waiting.set(handle, numTokens)
    this.#waitingTokens += numTokens
  }

  /** The request was scheduled, or is gone. */
  leave (handle: number): void {
    this.#waitingTokens -= this.#waiting.get(handle) ?? 0
    this.#waiting.delete(handle)
  }

  /** Measures the throughput; `now` in milliseconds. */
  stepFinished (numTokens: number, now: number): void {
    const seconds = this.#lastStep === undefined ? 0 : (now - this.#lastStep) / 1000
    this.#lastStep = now
    if (seconds <= 0) return
    const rate = numTokens / seconds
    this.#tokensPerSecond = this.#tokensPerSecond === 0 ? rate : this.#tokensPerSecond + SMOOTHING * (rate - this.#tokensPerSecond)
  }

  // SDKs honour 0 to 60 seconds.
  #retryAfterSeconds (): number {
    const seconds = this.#tokensPerSecond === 0 ? 1 : this.#waitingTokens / this.#tokensPerSecond
    return Math.min(60, Math.max(1, Math.ceil(seconds)))
  }
}
