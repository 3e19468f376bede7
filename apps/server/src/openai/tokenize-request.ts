import { z } from 'zod'
import type { HttpConfig } from '../http-config.ts'
import { chatTemplateFields, checkPromptEnd } from './chat-template-fields.ts'
import { messagesSchema, toolsSchema } from './chat-completion-request.ts'

/** vLLM's `/tokenize`: a text, or a conversation as the chat template renders it. */
export function tokenizeRequestSchema (limits: HttpConfig) {
  return z.strictObject({
    model: z.string().max(256).nullish(),
    prompt: z.string().max(limits.bodyLimitBytes).optional(),
    messages: messagesSchema(limits).optional(),
    tools: toolsSchema(limits).nullish(),
    add_special_tokens: z.boolean().nullish(),
    ...chatTemplateFields(limits),
    return_token_strs: z.boolean().nullish(),
  }).check(checkPromptEnd).refine(({ prompt, messages }) => (prompt === undefined) !== (messages === undefined), {
    path: ['prompt'], message: 'Give either prompt or messages',
  })
}

/** vLLM's `/detokenize`. The tokens are checked by `parseTokens`. */
export function detokenizeRequestSchema () {
  return z.strictObject({
    model: z.string().max(256).nullish(),
    tokens: z.unknown().meta({ type: 'array', items: { type: 'integer', minimum: 0 } }),
  })
}
