import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { batchSchema } from '../batches/index.ts'
import type { Batch, BatchProcessor, BatchStore } from '../batches/index.ts'
import { ApiError } from '../errors.ts'
import type { FileStore } from '../files/index.ts'
import { pageOf, pageQuerySchema } from '../openai/page-query.ts'
import { toRequestError } from '../openai/request-error.ts'
import { errorResponses, jsonSchema } from '../openai/response-schemas.ts'

export interface BatchRoutesOptions {
  readonly batches: BatchStore
  readonly files: FileStore
  readonly processor: BatchProcessor
  /** Paths that a batch can be for. */
  readonly endpoints: readonly string[]
}

const HOUR_SECONDS = 3_600
/** OpenAI knows one window, 24h; up to a month is as easy. */
const MAX_WINDOW_HOURS = 720

const metadata = z.record(z.string().min(1).max(64), z.string().max(512)).refine(entries => Object.keys(entries).length <= 16, 'At most 16 entries')
const listSchema = z.object({
  object: z.literal('list'), data: z.array(batchSchema), first_id: z.string().nullable(), last_id: z.string().nullable(), has_more: z.boolean()
})
const listQuery = pageQuerySchema({ default: 20, max: 100 })

function createSchema (endpoints: readonly string[]) {
  return z.strictObject({
    input_file_id: z.string().min(1).max(256),
    endpoint: z.enum(endpoints, { error: `One of ${endpoints.join(', ')} is expected` }),
    completion_window: z.string().regex(/^[1-9]\d{0,2}h$/, 'Hours are expected, such as 24h')
      .refine(window => Number.parseInt(window) <= MAX_WINDOW_HOURS, `At most ${MAX_WINDOW_HOURS}h`),
    metadata: metadata.nullish(),
    output_expires_after: z.strictObject({ anchor: z.literal('created_at'), seconds: z.int().min(HOUR_SECONDS).max(MAX_WINDOW_HOURS * HOUR_SECONDS) }).nullish()
  })
}

/** The Batches API. @see https://platform.openai.com/docs/api-reference/batch */
export function registerBatches (app: FastifyInstance, { batches, files, processor, endpoints }: BatchRoutesOptions): void {
  const tags = ['batches']
  const schema = createSchema(endpoints)
  const response = { 200: jsonSchema(batchSchema), ...errorResponses }

  app.post('/v1/batches', { schema: { summary: 'Starts a batch', tags, body: jsonSchema(schema), response } }, async request => {
    const body = schema.safeParse(request.body)
    if (!body.success) throw toRequestError(body.error)
    const { input_file_id: inputFileId, endpoint, completion_window: completionWindow, metadata, output_expires_after: outputExpiresAfter } = body.data
    const file = files.get(inputFileId)
    if (file === undefined) throw new ApiError('invalid_value', `Invalid value for 'input_file_id': there is no file ${inputFileId}.`, { param: 'input_file_id' })
    if (file.purpose !== 'batch') throw new ApiError('invalid_value', `Invalid value for 'input_file_id': the file ${inputFileId} has the purpose ${file.purpose}; batch is expected.`, { param: 'input_file_id' })
    return await processor.create({
      endpoint, inputFileId, completionWindow, windowSeconds: Number.parseInt(completionWindow) * HOUR_SECONDS, metadata: metadata ?? null, outputExpiresAfter
    })
  })

  app.get('/v1/batches', { schema: { summary: 'The batches', tags, querystring: jsonSchema(listQuery), response: { 200: jsonSchema(listSchema), ...errorResponses } } }, async request => {
    const query = listQuery.safeParse(request.query)
    if (!query.success) throw toRequestError(query.error)
    return pageOf(batches.list(), query.data, batch => batch)
  })

  app.get<BatchRequest>('/v1/batches/:id', { schema: { summary: 'One batch', tags, response } }, async ({ params }) => batchOf(batches, params.id))

  app.post<BatchRequest>('/v1/batches/:id/cancel', { schema: { summary: 'Stops a batch; what is answered by then is kept', tags, response } },
    async ({ params }) => await processor.cancel(batchOf(batches, params.id)))
}

interface BatchRequest { Params: { id: string } }

function batchOf (batches: BatchStore, id: string): Batch {
  const batch = batches.get(id)
  if (batch === undefined) throw new ApiError('not_found', `No batch found with id '${id.slice(0, 64)}'.`, { param: 'id' })
  return batch
}
