import type { ApiError } from '../errors.ts'

/** Where a streamed response goes: SSE on one HTTP response, or frames on a WebSocket. Nothing here waits or throws. */
export interface GenerationOutput {
  /** Queues the JSON of one chunk until `flush`. */
  chunk (json: string): void
  /** Writes all queued chunks at once. */
  flush (): void
  end (): void
  fail (error: ApiError): void
}

/** Output of a response that is sent whole. */
export const noOutput: GenerationOutput = { chunk () {}, flush () {}, end () {}, fail () {} }
