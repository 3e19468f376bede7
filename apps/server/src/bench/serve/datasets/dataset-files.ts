import { readFile } from 'node:fs/promises'
import type { RandomStream } from '../../random-stream.ts'
import type { SampleRequest } from '../sample-request.ts'
import type { ServerText } from '../server-text.ts'

/** A dataset file that cannot be used, with the line where that is known. */
export class DatasetError extends Error {
  override readonly name = 'DatasetError'
  readonly code = 'BENCH_DATASET'
  readonly details: { readonly path: string, readonly line: number | undefined }
  constructor (path: string, problem: string, line?: number) {
    super(`${path}${line === undefined ? '' : `:${line}`}: ${problem}`)
    this.details = { path, line }
  }
}

/**
 * vLLM's `custom` dataset: JSON lines with a `prompt` and, if they like, their own `output_tokens`. Repeated in order when there
 * are fewer lines than prompts.
 */
export async function customRequests (path: string, numPrompts: number, outputLen: number, text: ServerText): Promise<SampleRequest[]> {
  const lines = (await readFile(path, 'utf8')).split('\n')
  const requests: SampleRequest[] = []
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '' || requests.length === numPrompts) continue
    const entry = parseJson(path, line, index + 1)
    const { prompt, output_tokens: outputTokens }: { prompt?: unknown, output_tokens?: unknown } = typeof entry === 'object' && entry !== null ? entry : {}
    if (typeof prompt !== 'string' || prompt === '') throw new DatasetError(path, 'has no text under "prompt"', index + 1)
    const wanted = typeof outputTokens === 'number' && Number.isSafeInteger(outputTokens) && outputTokens > 0 ? outputTokens : outputLen
    requests.push({ prompt, promptTokens: await text.countTokens(prompt), outputTokens: wanted })
  }
  return repeated(path, requests, numPrompts)
}

// vLLM's filter: shorter ones are noise, longer ones do not fit small contexts.
const SHAREGPT_MIN_TOKENS = 4
const SHAREGPT_MAX_PROMPT = 1024
const SHAREGPT_MAX_TOTAL = 2048

/**
 * vLLM's `sharegpt` dataset: the first two turns of each conversation, in random order; the second turn's length is the output's
 * unless `outputLen` says otherwise.
 */
export async function shareGptRequests (path: string, numPrompts: number, outputLen: number | undefined, text: ServerText, random: RandomStream): Promise<SampleRequest[]> {
  const conversations = parseJson(path, await readFile(path, 'utf8'))
  if (!Array.isArray(conversations)) throw new DatasetError(path, 'is not a JSON list of conversations')
  const requests: SampleRequest[] = []
  for (const conversation of random.shuffled<unknown>(conversations)) {
    if (requests.length === numPrompts) break
    const [prompt, answer] = firstTurns(conversation)
    if (prompt === undefined || answer === undefined) continue
    const promptTokens = await text.countTokens(prompt)
    const outputTokens = outputLen ?? await text.countTokens(answer)
    const isTooShort = promptTokens < SHAREGPT_MIN_TOKENS || outputTokens < SHAREGPT_MIN_TOKENS
    if (isTooShort || promptTokens > SHAREGPT_MAX_PROMPT || promptTokens + outputTokens > SHAREGPT_MAX_TOTAL) continue
    requests.push({ prompt, promptTokens, outputTokens })
  }
  return repeated(path, requests, numPrompts)
}

function firstTurns (conversation: unknown): string[] {
  const turns = typeof conversation === 'object' && conversation !== null && 'conversations' in conversation ? conversation.conversations : undefined
  if (!Array.isArray(turns)) return []
  return turns.slice(0, 2).flatMap((turn: unknown) =>
    typeof turn === 'object' && turn !== null && 'value' in turn && typeof turn.value === 'string' ? [turn.value] : [])
}

function parseJson (path: string, json: string, line?: number): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw new DatasetError(path, 'is not JSON', line)
  }
}

function repeated (path: string, requests: readonly SampleRequest[], numPrompts: number): SampleRequest[] {
  if (requests.length === 0) throw new DatasetError(path, 'holds no usable request')
  return Array.from({ length: numPrompts }, (_, i) => requests[i % requests.length] ?? []).flat()
}
