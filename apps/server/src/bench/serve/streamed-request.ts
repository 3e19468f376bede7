import type { RequestOutcome } from './request-outcome.ts'
import type { SampleRequest } from './sample-request.ts'
import type { ServerClient } from './server-client.ts'
import { SseDataReader } from './sse-data-reader.ts'

/** The fields of a streamed chunk that are measured; /v1/completions has `text`, chat has `delta`. */
interface StreamChunk {
  readonly choices?: ReadonlyArray<{ readonly text?: string, readonly delta?: { readonly content?: string | null, readonly reasoning_content?: string | null } }>
  readonly usage?: { readonly prompt_tokens?: number, readonly completion_tokens?: number } | null
  readonly error?: unknown
}

/**
 * Sends one request and measures its stream as vLLM's client does: every chunk with choices counts, the usage chunk is the one
 * without. Never rejects: what goes wrong is the outcome's `error`.
 * @param now seconds on the load clock
 */
export async function measureStreamed (client: ServerClient, endpoint: string, body: string, sample: SampleRequest, queueSeconds: number, now: () => number): Promise<RequestOutcome> {
  const startTime = now()
  const itls: number[] = []
  const texts: string[] = []
  let error: string | undefined
  let firstChunk: number | undefined
  let firstText: number | undefined
  let lastChunk = startTime
  let usage: StreamChunk['usage']
  const reader = new SseDataReader(data => {
    if (data === '[DONE]') return
    const chunk = parseChunk(data)
    if (chunk.error !== undefined && chunk.error !== null) error ??= JSON.stringify(chunk.error).slice(0, 500)
    const [choice] = chunk.choices ?? []
    if (choice === undefined) {
      usage = chunk.usage ?? usage
      return
    }
    const time = now()
    if (firstChunk === undefined) firstChunk = time
    else itls.push(time - lastChunk)
    lastChunk = time
    const text = choice.text ?? choice.delta?.content ?? choice.delta?.reasoning_content ?? ''
    if (text === '') return
    firstText ??= time
    texts.push(text)
  })
  try {
    await client.stream(endpoint, body, chunk => { reader.push(chunk) })
    if (firstChunk === undefined) error ??= 'the stream ended without a single chunk'
  } catch (cause) {
    error ??= cause instanceof Error ? cause.message || cause.name : String(cause)
  }
  return {
    error,
    promptTokens: usage?.prompt_tokens ?? sample.promptTokens,
    outputTokens: usage?.completion_tokens ?? texts.length,
    hasUsage: usage?.completion_tokens !== undefined,
    startTime,
    queueSeconds,
    ttft: (firstChunk ?? startTime) - startTime,
    firstTextSeconds: (firstText ?? firstChunk ?? startTime) - startTime,
    itls,
    latency: lastChunk - startTime,
    text: texts.join('')
  }
}

function parseChunk (data: string): StreamChunk {
  try {
    const chunk: unknown = JSON.parse(data)
    return typeof chunk === 'object' && chunk !== null ? chunk : { error: 'a chunk is not an object' }
  } catch {
    return { error: `a chunk is not JSON: ${data.slice(0, 100)}` }
  }
}
