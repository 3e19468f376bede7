import { randomInt, randomUUID } from 'node:crypto'
import type { SamplingParams } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'
import type { PrefixGroupMembership } from '@daybreak/scheduler'
import { ApiError } from '../errors.ts'
import type { QueueLimits } from '../generation/admission.ts'
import type { EngineCapacity } from '../generation/generation-service.ts'
import type { HttpConfig } from '../http-config.ts'
import { TextTooLongError } from '../text/errors.ts'
import type { TextEncodeOptions, TextService } from '../text/text-service.ts'
import { chatFormat } from './chat-format.ts'
import { chatTemplateOptions } from './chat-template-fields.ts'
import { templateMessages } from './chat-completion-request.ts'
import type { ChatCompletionRequest } from './chat-completion-request.ts'
import { completionFormat } from './completion-format.ts'
import type { CompletionRequest, Prompt } from './completion-request.ts'
import type { ResponseFormat } from './response-format.ts'
import { foldSeed, samplingParams, stopStrings } from './sampling-params.ts'

export interface PromptPlan {
  readonly tokens: readonly TokenId[]
  /** Text to show before the generated text; empty without `echo`. */
  readonly echo: string
  readonly maxTokens: number
  /** One per choice. */
  readonly sampling: readonly SamplingParams[]
}

/** A request, checked, tokenised and with every default applied: all that generating and answering need. */
export interface GenerationPlan {
  readonly id: string
  readonly format: ResponseFormat
  readonly prompts: readonly PromptPlan[]
  /** Per prompt; choice `c` of prompt `p` has index `p · numChoices + c`. */
  readonly numChoices: number
  readonly stream: boolean
  /** `final`: a usage chunk at the end; `continuous`: running totals in every chunk as well. */
  readonly streamUsage: 'none' | 'final' | 'continuous'
  readonly stop: readonly string[]
  readonly stopTokens: readonly TokenId[]
  /** Stop tokens the caller named; reported as `stop_reason`. */
  readonly callerStopTokens: readonly TokenId[]
  readonly collectLogprobs: boolean
  readonly promptLogprobs: number | undefined
  readonly priority: number
  readonly skipSpecialTokens: boolean
  /** Nobody waits for it: see GenerationRequest. */
  readonly background?: boolean
  /** Of its one prompt. */
  readonly prefixGroup?: PrefixGroupMembership | undefined
}

export interface PlanContext {
  readonly text: TextService
  readonly capacity: EngineCapacity
  readonly config: HttpConfig
  readonly queueLimits: QueueLimits | undefined
  /** The name the response carries. */
  readonly model: string
}

/** @throws ApiError when the prompt does not fit; a template's refusal becomes one in `toApiError`. */
export async function planChatCompletion (request: ChatCompletionRequest, context: PlanContext): Promise<GenerationPlan> {
  const tools = request.tool_choice === 'none' ? undefined : request.tools
  const tokens = await namingParam('messages', context.text.encodeChat(templateMessages(request.messages), {
    ...chatTemplateOptions(request),
    maxTokens: context.capacity.maxModelLen,
    ...(tools !== undefined && { tools }),
  }))
  const maxTokens = fitContext(tokens.length, request.max_completion_tokens ?? request.max_tokens, 'rest', 'messages', context)
  const numLogprobs = request.logprobs === true ? request.top_logprobs ?? 0 : undefined
  const identity = newIdentity('chatcmpl', context)
  return {
    ...commonPlan(request, identity.id, context),
    format: chatFormat(identity, context.text),
    prompts: [{ tokens, echo: '', maxTokens, sampling: choiceSampling(request, numLogprobs, context) }],
    collectLogprobs: numLogprobs !== undefined,
    promptLogprobs: undefined,
  }
}

/** @throws ApiError when a prompt is empty, does not fit, all together are more than the queue ever takes, or one holds ids outside the vocabulary. */
export async function planCompletion (request: CompletionRequest, context: PlanContext): Promise<GenerationPlan> {
  const identity = newIdentity('cmpl', context)
  const echo = request.echo ?? false
  const requestCharacters = request.prompts.reduce((sum, prompt) => sum + (typeof prompt === 'string' ? prompt.length : 0), 0)
  const prompts = await Promise.all(request.prompts.map(async (prompt, i) => {
    const param = request.prompts.length === 1 ? 'prompt' : `prompt[${i}]`
    const tokens = await promptTokens(prompt, param, { addSpecialTokens: request.add_special_tokens ?? true, requestCharacters }, context)
    const maxTokens = fitContext(tokens.length, request.max_tokens, 16, param, context)
    return {
      tokens,
      maxTokens,
      echo: !echo ? '' : typeof prompt === 'string' ? prompt : context.text.decode(tokens, { skipSpecialTokens: false }),
      sampling: choiceSampling(request, request.logprobs, context),
    }
  }))
  fitQueue(prompts, context)
  return {
    ...commonPlan(request, identity.id, context),
    format: completionFormat(identity, context.text),
    prompts,
    collectLogprobs: request.logprobs !== undefined,
    promptLogprobs: echo ? request.logprobs : undefined,
  }
}

function newIdentity (prefix: string, context: PlanContext) {
  return { id: `${prefix}-${randomUUID().replaceAll('-', '')}`, created: Math.floor(Date.now() / 1000), model: context.model }
}

type CommonRequest = Pick<ChatCompletionRequest, keyof ChatCompletionRequest & keyof CompletionRequest & string>

function commonPlan (request: Omit<CommonRequest, 'max_tokens' | 'logprobs'>, id: string, { text }: PlanContext) {
  const callerStopTokens = request.stop_token_ids ?? []
  const streamOptions = request.stream_options
  return {
    id,
    numChoices: request.n ?? 1,
    stream: request.stream ?? false,
    streamUsage: streamOptions?.include_usage !== true ? 'none' : streamOptions.continuous_usage_stats === true ? 'continuous' : 'final',
    stop: stopStrings(request.stop),
    stopTokens: request.ignore_eos === true ? callerStopTokens : [...new Set([...callerStopTokens, ...text.eosTokens])],
    callerStopTokens,
    priority: request.priority ?? 0,
    skipSpecialTokens: request.skip_special_tokens ?? true,
  } as const
}

function choiceSampling (request: Omit<CommonRequest, 'max_tokens' | 'logprobs'>, numLogprobs: number | undefined, { capacity, config }: PlanContext): SamplingParams[] {
  const seed = request.seed === undefined ? randomInt(2 ** 32) : foldSeed(request.seed)
  const first = samplingParams(request, seed, numLogprobs, { vocabSize: capacity.vocabSize, maxLogitBias: config.maxLogitBias })
  return Array.from({ length: request.n ?? 1 }, (_, i) => ({ ...first, seed: foldSeed(seed + i) }))
}

async function promptTokens (prompt: Prompt, param: string, options: TextEncodeOptions, { text, capacity }: PlanContext): Promise<readonly TokenId[]> {
  const tokens = typeof prompt === 'string' ? await namingParam(param, text.encode(prompt, { ...options, maxTokens: capacity.maxModelLen })) : prompt
  if (tokens.length === 0) throw new ApiError('invalid_value', `Invalid value for '${param}': it has no tokens.`, { param })
  const outside = tokens.find(token => token >= capacity.vocabSize)
  if (outside !== undefined) {
    throw new ApiError('invalid_value', `Invalid value for '${param}': token id ${outside} is outside the vocabulary of ${capacity.vocabSize}.`, { param })
  }
  return tokens
}

/** Says which of a request's parameters it was that cannot fit. */
async function namingParam<T> (param: string, tokens: Promise<T>): Promise<T> {
  try {
    return await tokens
  } catch (cause) {
    if (!(cause instanceof TextTooLongError)) throw cause
    const { maxTokens, fewestTokens } = cause.details
    throw new ApiError('context_length_exceeded',
      `This model's maximum context length is ${maxTokens} tokens. However, you requested at least ${fewestTokens} tokens in the ${param}. Please reduce its length.`,
      { param, cause })
  }
}

/** The prompts of a request are queued at once: those that an empty queue has no room for would be told to try again for ever. */
function fitQueue (prompts: ReadonlyArray<Pick<PromptPlan, 'tokens'>>, { queueLimits }: PlanContext): void {
  // A single one is always let in by an empty queue.
  if (queueLimits === undefined || prompts.length === 1) return
  const { maxRequests, maxTokens } = queueLimits
  const numTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0)
  if (prompts.length <= maxRequests && numTokens <= maxTokens) return
  throw new ApiError('invalid_value',
    `Invalid value for 'prompt': ${prompts.length} prompts of ${numTokens} tokens in all; this server's queue holds ${maxRequests} prompts and ${maxTokens} tokens. Please send fewer at a time.`,
    { param: 'prompt' })
}

/** How many tokens may be generated. */
function fitContext (numPromptTokens: number, asked: number | undefined, fallback: number | 'rest', param: string, { capacity }: PlanContext): number {
  const limit = capacity.maxModelLen
  const room = limit - numPromptTokens
  const wanted = asked ?? (fallback === 'rest' ? Math.max(room, 1) : Math.min(fallback, Math.max(room, 1)))
  if (wanted <= room) return wanted
  throw new ApiError('context_length_exceeded',
    `This model's maximum context length is ${limit} tokens. However, you requested ${numPromptTokens + wanted} tokens (${numPromptTokens} in the ${param}, ${wanted} in the completion). Please reduce the length of either one.`,
    { param })
}
