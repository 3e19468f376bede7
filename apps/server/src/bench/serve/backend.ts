import type { SampleRequest } from './sample-request.ts'

/** vLLM's names: `openai` and `vllm` are /v1/completions, `openai-chat` is /v1/chat/completions. */
export const BACKENDS = Object.freeze(['openai', 'openai-chat', 'vllm'] as const)
export type Backend = typeof BACKENDS[number]

export interface RequestOptions {
  readonly model: string
  readonly temperature: number
  readonly ignoreEos: boolean
  /** Fields added to every body; they win. */
  readonly extraBody: Readonly<Record<string, unknown>>
}

export function defaultEndpoint (backend: Backend): string {
  return backend === 'openai-chat' ? '/v1/chat/completions' : '/v1/completions'
}

/** The JSON body of a streamed request that reports its usage. */
export function requestBody (backend: Backend, sample: SampleRequest, options: RequestOptions): string {
  const { model, temperature, ignoreEos, extraBody } = options
  const prompt = backend === 'openai-chat'
    ? { messages: [{ role: 'user', content: textPrompt(sample) }], max_completion_tokens: sample.outputTokens }
    : { prompt: sample.prompt, max_tokens: sample.outputTokens }
  return JSON.stringify({
    model,
    ...prompt,
    temperature,
    stream: true,
    stream_options: { include_usage: true },
    ...(ignoreEos ? { ignore_eos: true } : {}),
    ...extraBody
  })
}

function textPrompt (sample: SampleRequest): string {
  if (typeof sample.prompt !== 'string') throw new TypeError('a chat message is text: this dataset made token ids')
  return sample.prompt
}
