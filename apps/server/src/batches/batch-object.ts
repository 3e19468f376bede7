import { randomUUID } from 'node:crypto'
import { z } from 'zod'

/** What can be wrong with an input file, at one of its lines or as a whole. */
export const batchProblemSchema = z.object({
  code: z.string(),
  line: z.int().nullable(),
  message: z.string(),
  param: z.string().nullable()
})
export type BatchProblem = z.infer<typeof batchProblemSchema>

const time = z.int().nullable()

/**
 * A batch, in OpenAI's shape: what clients read, and what is kept on disk. Times in Unix seconds.
 * @see https://platform.openai.com/docs/api-reference/batch/object
 */
export const batchSchema = z.object({
  id: z.string(),
  object: z.literal('batch'),
  endpoint: z.string(),
  model: z.string().nullable(),
  errors: z.object({ object: z.literal('list'), data: z.array(batchProblemSchema) }).nullable(),
  input_file_id: z.string(),
  completion_window: z.string(),
  status: z.enum(['validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled']),
  /** There once the batch has ended and had an answer, or a line that failed. */
  output_file_id: z.string().nullable(),
  error_file_id: z.string().nullable(),
  created_at: z.int(),
  in_progress_at: time,
  expires_at: time,
  finalizing_at: time,
  completed_at: time,
  failed_at: time,
  expired_at: time,
  cancelling_at: time,
  cancelled_at: time,
  request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
  usage: z.object({
    input_tokens: z.int(),
    input_tokens_details: z.object({ cached_tokens: z.int() }),
    output_tokens: z.int(),
    output_tokens_details: z.object({ reasoning_tokens: z.int() }),
    total_tokens: z.int()
  }),
  metadata: z.record(z.string(), z.string()).nullable(),
  output_expires_after: z.object({ anchor: z.literal('created_at'), seconds: z.int() }).nullish()
})
export type Batch = z.infer<typeof batchSchema>
export type BatchStatus = Batch['status']

export interface NewBatch {
  readonly endpoint: string
  readonly inputFileId: string
  readonly completionWindow: string
  readonly windowSeconds: number
  readonly metadata: Record<string, string> | null
  readonly outputExpiresAfter: Batch['output_expires_after']
}

/** @param now Unix seconds */
export function newBatch ({ endpoint, inputFileId, completionWindow, windowSeconds, metadata, outputExpiresAfter }: NewBatch, now: number): Batch {
  return {
    id: `batch_${randomUUID().replaceAll('-', '')}`,
    object: 'batch',
    endpoint,
    model: null,
    errors: null,
    input_file_id: inputFileId,
    completion_window: completionWindow,
    status: 'validating',
    output_file_id: null,
    error_file_id: null,
    created_at: now,
    in_progress_at: null,
    expires_at: now + windowSeconds,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    request_counts: { total: 0, completed: 0, failed: 0 },
    usage: { input_tokens: 0, input_tokens_details: { cached_tokens: 0 }, output_tokens: 0, output_tokens_details: { reasoning_tokens: 0 }, total_tokens: 0 },
    metadata,
    output_expires_after: outputExpiresAfter ?? null
  }
}

/** Nothing more will happen to it. */
export function hasEnded ({ status }: Batch): boolean {
  return status === 'failed' || status === 'completed' || status === 'expired' || status === 'cancelled'
}
