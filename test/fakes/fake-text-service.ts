import type { TokenId } from '@daybreak/kvcache'
import { ChatTemplateError } from '../../apps/server/src/text/errors.ts'
import type { ChatMessage, ChatTemplateOptions, Detokenizer, TextEncodeOptions, TextService } from '../../apps/server/src/text/text-service.ts'

const utf8 = new TextEncoder()

/** A token per byte, id = byte; two special ones above. */
export const fakeEos = 256
export const fakeBos = 257
const specialText = new Map([[fakeEos, '</s>'], [fakeBos, '<s>']])

export interface FakeTextOptions {
  /** Called before every encode; a promise holds the encode until it resolves. */
  readonly beforeEncode?: (text: string, options: TextEncodeOptions) => Promise<void> | void
  /** What a warm-up takes: it is under way from the call until this resolves. */
  readonly warmUp?: Promise<void>
}

/**
 * A whole text service over bytes: every text has tokens, every token sequence a text, and characters beyond ASCII span
 * several tokens. The chat template writes `role: content` lines.
 */
export function fakeTextService (options: FakeTextOptions = {}): TextService & { readonly seenTools: unknown[], readonly seenChats: ChatTemplateOptions[] } {
  const encode = async (text: string, encodeOptions: TextEncodeOptions) => {
    await options.beforeEncode?.(text, encodeOptions)
    return [...(encodeOptions.addSpecialTokens ? [fakeBos] : []), ...utf8.encode(text)]
  }
  const seenTools: unknown[] = []
  const seenChats: ChatTemplateOptions[] = []
  let isWarmingUp = false
  return {
    vocabSize: 258,
    eosTokens: [fakeEos],
    seenTools,
    seenChats,
    encode,
    decode (tokens, { skipSpecialTokens }) {
      const detokenizer = fakeDetokenizer(skipSpecialTokens)
      return tokens.map(token => detokenizer.push(token)).join('') + detokenizer.flush()
    },
    async encodeChat (messages: readonly ChatMessage[], chat: ChatTemplateOptions) {
      const { addGenerationPrompt, tools } = chat
      if (messages.some(({ role }, i) => role === 'system' && i > 0)) {
        throw new ChatTemplateError('the system message must come first', { reason: 'failed', timeoutMs: 1000 })
      }
      seenTools.push(tools)
      seenChats.push(chat)
      const lines = messages.map(({ role, content }) => `${role}: ${content}\n`).join('')
      const shown = chat.continueFinalMessage === true ? lines.slice(0, -1) : lines
      return encode(shown + (addGenerationPrompt ? 'assistant: ' : ''), { addSpecialTokens: false })
    },
    detokenizer: ({ skipSpecialTokens }) => fakeDetokenizer(skipSpecialTokens),
    tokenBytes: token => token < 256 ? Uint8Array.of(token) : utf8.encode(specialText.get(token) ?? ''),
    get isWarmingUp () { return isWarmingUp },
    async warmUp () {
      isWarmingUp = true
      await options.warmUp
      isWarmingUp = false
    },
    close: async () => {},
  }
}

function fakeDetokenizer (skipSpecialTokens: boolean): Detokenizer {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  return {
    push (token: TokenId) {
      if (token < 256) return decoder.decode(Uint8Array.of(token), { stream: true })
      return skipSpecialTokens ? '' : specialText.get(token) ?? ''
    },
    flush: () => decoder.decode(),
  }
}
