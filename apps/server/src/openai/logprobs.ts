import type { TokenLogprob } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'
import type { TextService } from '../text/text-service.ts'

/** One token with its log-probability and where its text starts. */
export interface LogprobEntry {
  readonly token: TokenId
  /** `null` for a prompt's first token, which nothing predicts. */
  readonly logprob: number | null
  readonly top: readonly TokenLogprob[]
  /** Code points of text before the token's first character, an echoed prompt included. */
  readonly textOffset: number
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** JSON has no -Infinity; a forbidden token's log-probability is sent as vLLM sends it. */
const finite = (logprob: number): number => Math.max(logprob, -9999)

/** The token's text, or its bytes as `\xe2\x80` escapes when they are no whole characters (OpenAI's form). */
function tokenText (bytes: Uint8Array, partialPrefix: string): string {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    return partialPrefix + Array.from(bytes, byte => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
  }
}

/** `choices[].logprobs` of chat completions. */
export function chatLogprobs (entries: readonly LogprobEntry[], text: TextService) {
  const item = (token: TokenId, logprob: number) => {
    const bytes = text.tokenBytes(token)
    return { token: tokenText(bytes, ''), logprob: finite(logprob), bytes: Array.from(bytes) }
  }
  return {
    content: entries.map(entry => ({
      ...item(entry.token, entry.logprob ?? 0),
      top_logprobs: entry.top.map(({ token, logprob }) => item(token, logprob)),
    })),
    refusal: null,
  }
}

/** `choices[].logprobs` of plain completions: parallel arrays; the alternatives always hold the token itself. */
export function completionLogprobs (entries: readonly LogprobEntry[], text: TextService) {
  const name = (token: TokenId): string => tokenText(text.tokenBytes(token), 'bytes:')
  return {
    tokens: entries.map(entry => name(entry.token)),
    token_logprobs: entries.map(entry => entry.logprob === null ? null : finite(entry.logprob)),
    top_logprobs: entries.map(entry => entry.logprob === null
      ? null
      : Object.fromEntries([...entry.top, { token: entry.token, logprob: entry.logprob }].map(({ token, logprob }) => [name(token), finite(logprob)]))),
    text_offset: entries.map(entry => entry.textOffset),
  }
}

export function countCodePoints (text: string): number {
  let count = text.length
  for (let i = 0; i < text.length - 1; i++) {
    const unit = text.charCodeAt(i)
    if (unit >= 0xd800 && unit < 0xdc00) count--
  }
  return count
}
