import { z } from 'zod'
import type { SamplingParams } from '@daybreak/engine/contract'
import { ApiError } from '../errors.ts'
import type { HttpConfig } from '../http-config.ts'
import { boundedArray } from './bounded-array.ts'

const INT32_MAX = 2 ** 31 - 1

/** Well-formed Unicode: half a surrogate pair could cut a character in two. */
const stopString = z.string().min(1).max(1024).refine(text => !/\p{Surrogate}/u.test(text), 'must be well-formed Unicode')

/** Parameters that chat and plain completions share. */
export function generationFields (limits: HttpConfig) {
  return {
    model: z.string().min(1).max(256).optional().describe('A served model; absent: the one this server has'),
    stream: z.boolean().optional(),
    stream_options: z.strictObject({
      include_usage: z.boolean().nullish(),
      continuous_usage_stats: z.boolean().nullish(),
      include_obfuscation: z.boolean().nullish(),
    }).optional(),
    n: z.int().min(1).max(limits.maxChoices).optional(),
    stop: z.union([stopString, boundedArray(stopString, { max: limits.maxStopStrings })]).optional(),
    stop_token_ids: boundedArray(z.int().min(0).max(INT32_MAX), { max: 128 }).optional(),
    // Clients send 64 bits; what JSON's numbers cannot hold of them is rounded away.
    seed: z.number().refine(Number.isInteger, 'must be an integer').meta({ type: 'integer' }).optional()
      .describe('Any integer; the low 32 bits are used, and choice i draws with seed + i'),
    temperature: z.number().min(0).max(2).optional(),
    top_p: z.number().min(0).max(1).optional(),
    top_k: z.int().min(-1).max(INT32_MAX).optional().describe('0 or -1: all tokens'),
    min_p: z.number().min(0).max(1).optional(),
    presence_penalty: z.number().min(-2).max(2).optional(),
    frequency_penalty: z.number().min(-2).max(2).optional(),
    repetition_penalty: z.number().min(0.01).max(10).optional(),
    logit_bias: z.record(z.string(), z.unknown()).optional()
      .describe(`Token id to a bias of -100 to 100; at most ${limits.maxLogitBias} entries`),
    ignore_eos: z.boolean().optional(),
    priority: z.int().min(-INT32_MAX).max(INT32_MAX).optional().describe('Lower runs earlier'),
    skip_special_tokens: z.boolean().optional(),
  }
}

type SamplingRequest = z.infer<z.ZodObject<ReturnType<typeof generationFields>>>

/**
 * One choice's parameters, with OpenAI's defaults applied; the only place that has defaults.
 * @throws ApiError for a logit_bias the model or the limits do not allow.
 */
export function samplingParams (request: SamplingRequest, seed: number, numLogprobs: number | undefined, limits: { readonly vocabSize: number, readonly maxLogitBias: number }): SamplingParams {
  return {
    temperature: request.temperature ?? 1,
    topK: Math.max(request.top_k ?? 0, 0),
    // 0 means "the most likely only"; the smallest set whose sum reaches 0 would be empty.
    topP: Math.max(request.top_p ?? 1, 1e-6),
    minP: request.min_p ?? 0,
    seed,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    repetitionPenalty: request.repetition_penalty ?? 1,
    logitBias: logitBias(request.logit_bias ?? {}, limits),
    numLogprobs,
  }
}

function logitBias (record: Readonly<Record<string, unknown>>, limits: { readonly vocabSize: number, readonly maxLogitBias: number }): Array<readonly [number, number]> {
  const entries = Object.entries(record)
  const refuse = (param: string, message: string): never => { throw new ApiError('invalid_value', `Invalid value for '${param}': ${message}.`, { param }) }
  if (entries.length > limits.maxLogitBias) refuse('logit_bias', `at most ${limits.maxLogitBias} entries, got ${entries.length}`)
  return entries.map(([key, bias]) => {
    const token = /^(0|[1-9]\d{0,9})$/.test(key) ? Number(key) : -1
    const param = `logit_bias.${key.slice(0, 32)}`
    if (token < 0 || token >= limits.vocabSize) return refuse(param, `keys are token ids from 0 to ${limits.vocabSize - 1}`)
    if (typeof bias !== 'number' || !(bias >= -100 && bias <= 100)) return refuse(param, 'a bias is a number from -100 to 100')
    return [token, bias] as const
  })
}

/** The low 32 bits, also of a negative seed. */
export function foldSeed (seed: number): number {
  const modulus = 2 ** 32
  return ((seed % modulus) + modulus) % modulus
}

export function stopStrings (stop: string | readonly string[] | undefined): readonly string[] {
  return typeof stop === 'string' ? [stop] : stop ?? []
}
