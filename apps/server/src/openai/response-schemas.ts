import { z } from 'zod'

/** Schemas of what the server sends, for the OpenAPI document; responses themselves are built, not checked. */

const usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.object({ cached_tokens: z.int() }),
  completion_tokens_details: z.object({ reasoning_tokens: z.int() }),
})

export const completionResponseSchema = z.object({
  id: z.string(),
  object: z.enum(['chat.completion', 'chat.completion.chunk', 'text_completion']),
  created: z.int().describe('Unix seconds'),
  model: z.string(),
  choices: z.array(z.object({
    index: z.int(),
    message: z.object({ role: z.literal('assistant'), content: z.string(), refusal: z.null() }).optional().describe('Chat, not streamed'),
    delta: z.object({ role: z.literal('assistant').optional(), content: z.string().optional() }).optional().describe('Chat, streamed'),
    text: z.string().optional().describe('Plain completions'),
    logprobs: z.record(z.string(), z.unknown()).nullable(),
    finish_reason: z.enum(['stop', 'length']).nullable(),
    stop_reason: z.union([z.string(), z.int()]).nullish(),
  })),
  usage: usage.nullish(),
})

export const errorSchema = z.object({
  error: z.object({ message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string().nullable() }),
})

export const modelSchema = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
  root: z.string(),
  max_model_len: z.int().nullable(),
})

export const modelListSchema = z.object({ object: z.literal('list'), data: z.array(modelSchema) })
export const tokenizeResponseSchema = z.object({
  count: z.int(), max_model_len: z.int(), vocab_size: z.int(), tokens: z.array(z.int()), token_strs: z.array(z.string()).nullable(),
})
export const detokenizeResponseSchema = z.object({ prompt: z.string() })
export const healthSchema = z.object({ status: z.string() })

export const fileSchema = z.object({
  id: z.string(),
  object: z.literal('file'),
  bytes: z.int(),
  created_at: z.int(),
  expires_at: z.int().optional(),
  filename: z.string(),
  purpose: z.enum(['batch', 'batch_output']),
  status: z.literal('processed'),
})

const page = { first_id: z.string().nullable(), last_id: z.string().nullable(), has_more: z.boolean() }
export const fileListSchema = z.object({ object: z.literal('list'), data: z.array(fileSchema), ...page })
export const deletedFileSchema = z.object({ id: z.string(), object: z.literal('file'), deleted: z.literal(true) })

/** A JSON Schema of what the client sends or reads, as OpenAPI 3.1 embeds it. */
export function jsonSchema (schema: z.ZodType): Record<string, unknown> {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: 'output', unrepresentable: 'any' })
  return rest
}

const errorResponse = (description: string) => ({ description, ...jsonSchema(errorSchema) })

export const errorResponses = {
  '4xx': errorResponse('The request cannot be served as it is'),
  '5xx': errorResponse('The server cannot serve it, now or at all'),
}
