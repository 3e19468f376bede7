import { z } from 'zod'
import type { HttpConfig } from '../http-config.ts'
import type { ChatMessage } from '../text/text-service.ts'
import { boundedArray } from './bounded-array.ts'
import { chatTemplateFields, checkPromptEnd } from './chat-template-fields.ts'
import { toRequestError } from './request-error.ts'
import { generationFields } from './sampling-params.ts'
import { supportedParameters } from './unsupported-parameters.ts'

const MAX_TOKENS = 2 ** 31 - 1

/** Fields of messages beyond these are dropped: clients send back whole assistant messages, with whatever those carried. */
function messageSchema (limits: HttpConfig) {
  const text = z.string().max(limits.bodyLimitBytes)
  const part = z.object({ type: z.string().max(64), text: text.optional() }).check(context => {
    const { type } = context.value
    if (type !== 'text') {
      context.issues.push({ code: 'custom', input: type, path: ['type'], params: { code: 'unsupported_parameter' }, message: 'Only parts of type text are supported' })
    } else if (context.value.text === undefined) {
      context.issues.push({ code: 'custom', input: undefined, path: ['text'], message: 'A text part needs its text' })
    }
  })
  const toolCall = z.object({
    id: z.string().max(256).optional(),
    type: z.literal('function'),
    function: z.object({ name: z.string().max(256), arguments: text }),
  })
  return z.object({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    content: z.union([text, boundedArray(part, { max: 1024 })]).nullish(),
    name: z.string().max(256).nullish(),
    tool_calls: boundedArray(toolCall, { max: 128 }).nullish(),
    tool_call_id: z.string().max(256).nullish(),
  }).check(context => {
    const { role, content, tool_calls: calls } = context.value
    if (content == null && !(role === 'assistant' && calls != null && calls.length > 0)) {
      context.issues.push({ code: 'custom', input: content, path: ['content'], message: 'Content may be null only in an assistant message with tool calls' })
    }
  })
}

export function toolsSchema (limits: HttpConfig) {
  return boundedArray(z.looseObject({
    type: z.literal('function'),
    function: z.looseObject({ name: z.string().min(1).max(256), description: z.string().max(65536).nullish(), parameters: z.record(z.string(), z.unknown()).nullish() }),
  }), { max: limits.maxTools })
}

export function messagesSchema (limits: HttpConfig) {
  return boundedArray(messageSchema(limits), { min: 1, max: limits.maxMessages })
}

export function chatCompletionRequestSchema (limits: HttpConfig) {
  return z.strictObject({
    ...generationFields(limits),
    messages: messagesSchema(limits),
    max_tokens: z.int().min(1).max(MAX_TOKENS).optional(),
    max_completion_tokens: z.int().min(1).max(MAX_TOKENS).optional().describe('Default: the rest of the context'),
    logprobs: z.boolean().optional(),
    top_logprobs: z.int().min(0).max(20).optional(),
    tools: toolsSchema(limits).optional().describe('Given to the chat template; calls come back as text in this version'),
    tool_choice: z.enum(['none', 'auto']).optional(),
    ...chatTemplateFields(limits),
  }).check(checkPromptEnd, context => {
    if (context.value.top_logprobs !== undefined && context.value.logprobs !== true) {
      context.issues.push({ code: 'custom', input: context.value.top_logprobs, path: ['top_logprobs'], message: 'It needs logprobs to be true' })
    }
  })
}

export type ChatCompletionRequest = z.infer<ReturnType<typeof chatCompletionRequestSchema>>

/** @throws ApiError for anything the schema does not accept. */
export function parseChatCompletionRequest (schema: ReturnType<typeof chatCompletionRequestSchema>, body: unknown): ChatCompletionRequest {
  const result = schema.safeParse(supportedParameters(body))
  if (!result.success) throw toRequestError(result.error)
  return result.data
}

/** Messages as templates know them: one string of content, the roles they were written for. */
export function templateMessages (messages: ChatCompletionRequest['messages']): ChatMessage[] {
  return messages.map(message => ({
    // OpenAI renamed the system role; templates still test for the old name.
    role: message.role === 'developer' ? 'system' : message.role,
    content: typeof message.content === 'string'
      ? message.content
      : (message.content ?? []).map(part => part.text ?? '').join('\n'),
    ...(message.name != null && { name: message.name }),
    ...(message.tool_call_id != null && { tool_call_id: message.tool_call_id }),
    ...(message.tool_calls != null && {
      // In the API's own order: some templates print a call as it is.
      tool_calls: message.tool_calls.map(call => ({ ...(call.id !== undefined && { id: call.id }), type: call.type, function: call.function })),
    }),
  }))
}
