import { z } from 'zod'
import { ApiError } from '../errors.ts'
import type { HttpConfig } from '../http-config.ts'
import { toRequestError } from './request-error.ts'
import { generationFields } from './sampling-params.ts'
import { supportedParameters } from './unsupported-parameters.ts'

const MAX_TOKENS = 2 ** 31 - 1

/** A prompt as text, or as the token ids a client made itself. */
export type Prompt = string | readonly number[]

const tokenIds = { type: 'array', items: { type: 'integer', minimum: 0 } }

export function completionRequestSchema (limits: HttpConfig) {
  return z.strictObject({
    ...generationFields(limits),
    // Checked by `parsePrompts`: a union would try every branch on every element of a long array.
    prompt: z.unknown().meta({
      description: 'A string, an array of strings, an array of token ids, or an array of arrays of token ids',
      anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, maxItems: limits.maxPrompts }, tokenIds, { type: 'array', items: tokenIds, maxItems: limits.maxPrompts }],
    }),
    max_tokens: z.int().min(0).max(MAX_TOKENS).optional().describe('Default 16; 0 only with echo'),
    logprobs: z.int().min(0).max(20).optional(),
    echo: z.boolean().optional(),
    add_special_tokens: z.boolean().optional(),
  }).check(context => {
    if (context.value.max_tokens === 0 && context.value.echo !== true) {
      context.issues.push({ code: 'custom', input: 0, path: ['max_tokens'], message: 'It must be at least 1 unless echo is true' })
    }
  })
}

export type CompletionRequest = Omit<z.infer<ReturnType<typeof completionRequestSchema>>, 'prompt'> & { readonly prompts: readonly Prompt[] }

/** @throws ApiError for anything the schema or the prompt's forms do not accept. */
export function parseCompletionRequest (schema: ReturnType<typeof completionRequestSchema>, body: unknown, limits: HttpConfig): CompletionRequest {
  const result = schema.safeParse(supportedParameters(body))
  if (!result.success) throw toRequestError(result.error)
  const { prompt, ...rest } = result.data
  return { ...rest, prompts: parsePrompts(prompt, limits) }
}

function parsePrompts (prompt: unknown, limits: HttpConfig): readonly Prompt[] {
  if (prompt === undefined) throw new ApiError('missing_required_parameter', "Missing required parameter: 'prompt'.", { param: 'prompt' })
  if (typeof prompt === 'string') return [prompt]
  if (!Array.isArray(prompt)) throw wrongType('prompt')
  if (prompt.length === 0) throw new ApiError('invalid_value', "Invalid value for 'prompt': it is empty.", { param: 'prompt' })
  if (typeof prompt[0] === 'number') return [parseTokens(prompt, 'prompt')]
  if (prompt.length > limits.maxPrompts) {
    throw new ApiError('invalid_value', `Invalid value for 'prompt': at most ${limits.maxPrompts} prompts, got ${prompt.length}.`, { param: 'prompt' })
  }
  return prompt.map((one, i) => typeof one === 'string' && typeof prompt[0] === 'string' ? one : parseTokens(one, `prompt[${i}]`))
}

/** @throws ApiError unless `value` is a non-empty array of non-negative integers. */
export function parseTokens (value: unknown, param: string): readonly number[] {
  if (!Array.isArray(value)) throw wrongType(param)
  if (value.length === 0) throw new ApiError('invalid_value', `Invalid value for '${param}': it is empty.`, { param })
  return value.map((token, i) => {
    if (typeof token !== 'number' || !Number.isSafeInteger(token) || token < 0) throw wrongType(`${param}[${i}]`)
    return token
  })
}

const wrongType = (param: string): ApiError =>
  new ApiError('invalid_type', `Invalid type for '${param}': expected a string, an array of strings, or token ids.`, { param })
