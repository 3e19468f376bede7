import { ApiError } from '../errors.ts'

type Harmless = (value: unknown) => boolean

const never: Harmless = () => false
const is = (...values: readonly unknown[]): Harmless => value => values.includes(value)
const isTextFormat: Harmless = value => typeof value === 'object' && value !== null && 'type' in value && value.type === 'text'
const isTextOnly: Harmless = value => Array.isArray(value) && value.length === 1 && value[0] === 'text'

/**
 * Parameters of OpenAI's or vLLM's API that this server knows and does not offer, with the values that ask for nothing
 * beyond what it does. Answering as if they were honoured would be worse than a clear 400.
 */
const unsupported: ReadonlyMap<string, Harmless> = new Map([
  ['best_of', is(1)],
  ['use_beam_search', is(false)],
  ['response_format', isTextFormat],
  ['structured_outputs', never],
  ['guided_json', never],
  ['guided_regex', never],
  ['guided_choice', never],
  ['guided_grammar', never],
  ['functions', never],
  ['function_call', is('none')],
  ['tool_choice', is('none', 'auto')],
  ['audio', never],
  ['modalities', isTextOnly],
  ['prediction', never],
  ['reasoning_effort', is('none')],
  ['verbosity', is('medium')],
  ['web_search_options', never],
  ['suffix', is('')],
  ['min_tokens', is(0)],
  ['bad_words', value => Array.isArray(value) && value.length === 0],
  ['allowed_token_ids', never],
  ['prompt_logprobs', is(-1)],
  ['include_stop_str_in_output', is(false)],
  ['truncate_prompt_tokens', is(-1)],
  ['chat_template', never],
  ['logits_processors', never],
  ['length_penalty', is(1)],
  ['early_stopping', is(false)],
])

/**
 * Parameters that change nothing we could act on: bookkeeping of OpenAI's platform, sent by many clients. Accepted and ignored.
 */
export const ignoredParameters = [
  'metadata', 'store', 'service_tier', 'user', 'parallel_tool_calls', 'prompt_cache_key', 'prompt_cache_retention',
  'safety_identifier', 'cache_salt', 'request_id', 'return_tokens_as_token_ids', 'spaces_between_special_tokens',
] as const

/**
 * The request without unsupported and ignored parameters, and without nulls at the top level (SDKs send null for "not set").
 * @throws ApiError `invalid_type` when the body is no object, `unsupported_parameter` naming the first one that asks for something.
 */
export function supportedParameters (body: unknown): Record<string, unknown> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new ApiError('invalid_type', 'The request body must be a JSON object.')
  }
  const supported: Array<readonly [string, unknown]> = []
  const ignored: ReadonlySet<string> = new Set(ignoredParameters)
  for (const [name, value] of Object.entries(body)) {
    if (value === null || ignored.has(name)) continue
    const harmless = unsupported.get(name)
    if (harmless === undefined || name === 'tool_choice') supported.push([name, value])
    if (harmless !== undefined && !harmless(value)) {
      throw new ApiError('unsupported_parameter', `Unsupported parameter: '${name}' is not supported with this server.`, { param: name })
    }
  }
  return Object.fromEntries(supported)
}
