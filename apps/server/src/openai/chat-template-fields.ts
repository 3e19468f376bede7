import { z } from 'zod'
import type { HttpConfig } from '../http-config.ts'
import type { ChatTemplateOptions, TemplateVariable } from '../text/text-service.ts'
import { boundedArray } from './bounded-array.ts'

const MAX_VARIABLE_CHARACTERS = 1024

/** vLLM's parameters for how a conversation becomes a prompt; `/v1/chat/completions` and `/tokenize` share them. */
export function chatTemplateFields (limits: HttpConfig) {
  return {
    add_generation_prompt: z.boolean().nullish().describe('Default true, unless continue_final_message is'),
    continue_final_message: z.boolean().nullish().describe('The model goes on with the last message, behind its text'),
    chat_template_kwargs: templateVariables(limits.allowedTemplateKwargs).nullish(),
    documents: boundedArray(z.record(z.string().max(256), z.string().max(limits.bodyLimitBytes)), { max: limits.maxDocuments }).nullish()
      .describe('What an answer may draw on; for templates that use them'),
  }
}

type ChatTemplateRequest = z.infer<z.ZodObject<ReturnType<typeof chatTemplateFields>>>

/** Adds an issue to a request that wants the final message continued and a new one opened. */
export function checkPromptEnd ({ value, issues }: z.core.ParsePayload<ChatTemplateRequest>): void {
  if (value.continue_final_message !== true || value.add_generation_prompt !== true) return
  issues.push({ code: 'custom', input: true, path: ['continue_final_message'], message: 'It cannot be true together with add_generation_prompt' })
}

/** The same for the chat template, with the defaults applied. */
export function chatTemplateOptions (request: ChatTemplateRequest): ChatTemplateOptions {
  const continueFinalMessage = request.continue_final_message ?? false
  return {
    addGenerationPrompt: request.add_generation_prompt ?? !continueFinalMessage,
    continueFinalMessage,
    ...(request.chat_template_kwargs != null && { variables: request.chat_template_kwargs }),
    ...(request.documents != null && { documents: request.documents }),
  }
}

/** Only variables on the list: a template may have others that are not the caller's business. */
function templateVariables (allowed: readonly string[]) {
  const list = allowed.length === 0 ? 'nothing' : allowed.join(', ')
  const value = z.custom<TemplateVariable>(isVariable, `It must be a boolean, a number, null or a string of at most ${MAX_VARIABLE_CHARACTERS} characters`)
    .meta({ type: ['boolean', 'number', 'string', 'null'], maxLength: MAX_VARIABLE_CHARACTERS })
  return z.record(z.string(), value)
    .check(({ value: record, issues }) => {
      const name = Object.keys(record).find(candidate => !allowed.includes(candidate))
      if (name === undefined) return
      issues.push({ code: 'custom', input: record, path: [name.slice(0, 64)], params: { code: 'unsupported_parameter' }, message: `This server gives its chat template ${list}` })
    })
    .describe(`Variables of the chat template; this server gives it ${list}`)
}

function isVariable (value: unknown): value is TemplateVariable {
  if (typeof value === 'string') return value.length <= MAX_VARIABLE_CHARACTERS
  return value === null || typeof value === 'number' || typeof value === 'boolean'
}
