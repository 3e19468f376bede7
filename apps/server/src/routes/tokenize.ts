import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { ApiError } from '../errors.ts'
import { templateMessages } from '../openai/chat-completion-request.ts'
import { chatTemplateOptions } from '../openai/chat-template-fields.ts'
import { parseTokens } from '../openai/completion-request.ts'
import { planContext } from '../openai/generation-endpoint.ts'
import { checkJsonDepth } from '../openai/json-depth.ts'
import { toRequestError } from '../openai/request-error.ts'
import { detokenizeResponseSchema, errorResponses, jsonSchema, tokenizeResponseSchema } from '../openai/response-schemas.ts'
import { detokenizeRequestSchema, tokenizeRequestSchema } from '../openai/tokenize-request.ts'
import type { ServerContext } from '../server-context.ts'

/** Text to token ids and back, in vLLM's shapes. */
export function registerTokenize (app: FastifyInstance, context: ServerContext): void {
  const { config, text } = context
  const tokenizeSchema = tokenizeRequestSchema(config)
  const detokenizeSchema = detokenizeRequestSchema()
  const tags = ['tokens']

  app.post('/tokenize', {
    schema: { summary: 'Token ids of a text or a conversation', tags, body: jsonSchema(tokenizeSchema), response: { 200: jsonSchema(tokenizeResponseSchema), ...errorResponses } },
  }, async request => {
    const body = parse(tokenizeSchema, request.body, config.maxJsonDepth)
    const { capacity } = planContext(context, body.model ?? undefined)
    const tokens = body.messages !== undefined
      ? await text.encodeChat(templateMessages(body.messages), {
        ...chatTemplateOptions(body),
        ...(body.tools != null && { tools: body.tools }),
      })
      : await text.encode(body.prompt ?? '', { addSpecialTokens: body.add_special_tokens ?? true })
    // Spelling them out runs on the event loop.
    if (body.return_token_strs === true && tokens.length > capacity.maxModelLen) {
      throw new ApiError('context_length_exceeded', `The text has ${tokens.length} tokens; they are spelled out (return_token_strs) for up to ${capacity.maxModelLen}, the model's context.`, { param: 'return_token_strs' })
    }
    return {
      count: tokens.length,
      max_model_len: capacity.maxModelLen,
      // Beyond vLLM's answer: benchmark clients draw random prompts from it.
      vocab_size: capacity.vocabSize,
      tokens,
      token_strs: body.return_token_strs === true ? tokens.map(token => text.decode([token], { skipSpecialTokens: false })) : null,
    }
  })

  app.post('/detokenize', {
    schema: { summary: 'Text of token ids', tags, body: jsonSchema(detokenizeSchema), response: { 200: jsonSchema(detokenizeResponseSchema), ...errorResponses } },
  }, async request => {
    const body = parse(detokenizeSchema, request.body, config.maxJsonDepth)
    const { capacity } = planContext(context, body.model ?? undefined)
    const tokens = parseTokens(body.tokens, 'tokens')
    // Decoding runs on the event loop: no more than any answer could have.
    if (tokens.length > capacity.maxModelLen) {
      throw new ApiError('context_length_exceeded', `Invalid value for 'tokens': ${tokens.length} tokens, the model's context holds ${capacity.maxModelLen}.`, { param: 'tokens' })
    }
    const outside = tokens.find(token => token >= text.vocabSize)
    if (outside !== undefined) {
      throw new ApiError('invalid_value', `Invalid value for 'tokens': token id ${outside} is outside the vocabulary of ${text.vocabSize}.`, { param: 'tokens' })
    }
    return { prompt: text.decode(tokens, { skipSpecialTokens: false }) }
  })
}

function parse<T extends z.ZodType> (schema: T, body: unknown, maxJsonDepth: number): z.infer<T> {
  checkJsonDepth(body, maxJsonDepth)
  const result = schema.safeParse(body)
  if (!result.success) throw toRequestError(result.error)
  return result.data
}
