import { z } from 'zod'
import type { BatchLine } from '../batches/check-input.ts'
import type { LineAnswer } from '../batches/line-runner.ts'

/** Most lines of one chunk: a group of more is divided. */
export const MOST_LINES = 512
/** Input bytes of one chunk; a line that is longer is alone. */
export const MOST_CHUNK_BYTES = 4 * 1024 * 1024
/** Far more than any answer; Redis itself takes 512 MiB. */
export const MOST_ANSWER_BYTES = 64 * 1024 * 1024

const batchId = z.string().regex(/^[\w-]{1,128}$/)
const lineNumber = z.int().min(1).max(2 ** 32 - 1)

const lineMessage = z.object({
  number: lineNumber,
  body: z.looseObject({}),
  prefixGroup: z.object({ id: z.string().min(1).max(256), length: z.int().min(1) }).optional()
})

const chunkMessage = z.object({
  batch: batchId,
  endpoint: z.string().min(1).max(256),
  lines: z.array(lineMessage).min(1).max(MOST_LINES)
})

/** Requests that one worker answers, as they lie in the queue. */
export type ChunkMessage = z.infer<typeof chunkMessage>

/** Undefined for what no server of this version has put there. */
export function parseChunk (data: unknown): ChunkMessage | undefined {
  return chunkMessage.safeParse(data).data
}

const count = z.int().min(0)

const answerMessage = z.object({
  number: lineNumber,
  requestId: z.string().min(1).max(128),
  status: z.int().min(100).max(599),
  body: z.unknown(),
  usage: z.object({ promptTokens: count, completionTokens: count, cachedTokens: count }).optional()
})

/** What a worker found, on its way to the server that has the batch. */
export interface SentAnswer {
  readonly number: BatchLine['number']
  readonly answer: LineAnswer
}

/** An answer too large to send becomes one that says so: the line would else be tried for ever. */
export function encodeAnswer (number: number, answer: LineAnswer): string {
  const text = JSON.stringify({ number, ...answer })
  if (Buffer.byteLength(text) <= MOST_ANSWER_BYTES) return text
  const error = { message: `The answer has more than ${MOST_ANSWER_BYTES} bytes.`, type: 'server_error', param: null, code: 'internal_error' }
  return JSON.stringify({ number, requestId: answer.requestId, status: 500, body: { error } })
}

/** Undefined for what is no answer. */
export function parseAnswer (text: string): SentAnswer | undefined {
  const parsed = answerMessage.safeParse(parsedJson(text)).data
  if (parsed === undefined) return undefined
  const { number, requestId, status, body, usage } = parsed
  return { number, answer: { requestId, status, body, usage } }
}

function parsedJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
