import { Piscina } from 'piscina'
import type { TokenId } from '@daybreak/kvcache'
import { ChatTemplateRunner, chatTemplatesOf } from './chat-template.ts'
import { ByteDetokenizer } from './detokenizer.ts'
import { EncodingFailedError, TextBusyError, TextTooLongError } from './errors.ts'
import { readTextModelFiles, type TextModelFiles } from './model-files.ts'
import { renderPlainChat } from './plain-chat-template.ts'
import { SpecialTokenEscape, type TextPart } from './special-token-escape.ts'
import type { ChatMessage, ChatTemplateOptions, DecodeOptions, Detokenizer, TextEncodeOptions, TextService } from './text-service.ts'
import { byteRuleOf, TokenBytes, type ByteRule } from './token-bytes.ts'
import { maxBytesPerToken } from './text-per-token.ts'
import type { EncodeTask } from './tokenizer-worker.ts'
import { Tokenizer } from './tokenizer.ts'
import { neighbouringWorkers, type WorkerLocations } from './worker-location.ts'

export interface TextServiceOptions {
  /** Texts of a request that have together up to this many UTF-16 units are tokenised on the event loop, at 1.5 microseconds each at most; longer ones by a worker. */
  readonly inlineCharacters: number
  readonly maxTokenizerThreads: number
  /** Texts that may wait for a tokenizer thread, and chats for a template thread; more are refused. */
  readonly maxWaiting: number
  readonly maxTemplateThreads: number
  /** Longest a chat template may take for one request. */
  readonly templateTimeoutMs: number
  readonly maxTemplateHeapMiB: number
  /** UTF-16 units of the longest prompt, or part of one, that a chat template may make. */
  readonly maxTemplateCharacters: number
  /**
   * What the name of a special token means inside a chat's messages and tools. `parse`: that token, as Hugging Face has it, so a caller
   * can write turns of their own. `escape`: letters, so they cannot; the choice for callers who are not trusted with the prompt.
   */
  readonly specialTokensInMessages: 'parse' | 'escape'
  readonly workers: WorkerLocations
  /** What a chat template's `strftime_now` sees, in local time. */
  readonly now: () => Date
}

const DEFAULTS = {
  // Three milliseconds: several times a worker's round trip, and still less than the gap between two tokens of a stream.
  inlineCharacters: 2048,
  maxTokenizerThreads: 2,
  // Four requests of as many prompts as one may have: seconds of work, if each is a whole context.
  maxWaiting: 256,
  maxTemplateThreads: 2,
  templateTimeoutMs: 1000,
  maxTemplateHeapMiB: 256,
  // More than the largest request body has by default, and small beside a worker's heap.
  maxTemplateCharacters: 5 * 2 ** 20,
  specialTokensInMessages: 'parse'
} as const

const NOTHING: ReadonlySet<TokenId> = new Set()
const KEEP_START: ByteRule['strip'] = { content: ' ', count: 0 }

/**
 * Reads a Hugging Face model folder's tokenizer and chat template. The caller closes what it opened.
 * @throws ModelFileError for missing or malformed files, UnsupportedTokenizerError for decoders that do not work on bytes (rejects).
 */
export async function openTextService (directory: string, options: Partial<TextServiceOptions> = {}): Promise<TextService> {
  const files = await readTextModelFiles(directory)
  return new HuggingFaceTextService(directory, files, { ...DEFAULTS, workers: neighbouringWorkers(), now: () => new Date(), ...options })
}

class HuggingFaceTextService implements TextService {
  readonly vocabSize: number
  readonly eosTokens: readonly TokenId[]
  readonly #options: TextServiceOptions
  readonly #tokenizer: Tokenizer
  readonly #tokenBytes: TokenBytes
  readonly #maxBytesPerToken: number
  readonly #rule: ByteRule
  readonly #special: ReadonlySet<TokenId>
  readonly #escape: SpecialTokenEscape | undefined
  readonly #template: ChatTemplateRunner | undefined
  readonly #encoders: Piscina<readonly EncodeTask[], Uint32Array>
  #isWarmingUp = false
  #isClosed = false

  constructor (directory: string, files: TextModelFiles, options: TextServiceOptions) {
    this.#options = options
    this.#rule = byteRuleOf(files.tokenizer.decoder)
    const tokenizer = new Tokenizer(files, directory)
    this.#tokenizer = tokenizer
    this.#maxBytesPerToken = maxBytesPerToken(files.tokenizer, tokenizer.spellings())
    this.#special = new Set(tokenizer.specialTokens.keys())
    this.#tokenBytes = new TokenBytes(this.#rule, id => tokenizer.spelling(id), new Set(files.tokenizer.added_tokens.map(token => token.id)))
    this.vocabSize = files.vocabSize ?? tokenizer.size
    const namedEos = typeof files.config.eos_token === 'string' ? tokenizer.idOf(files.config.eos_token) : undefined
    this.eosTokens = [...new Set([...files.eosTokenIds, ...(namedEos === undefined ? [] : [namedEos])])]
    this.#escape = options.specialTokensInMessages === 'escape' ? new SpecialTokenEscape(tokenizer.specialTokens.values()) : undefined
    this.#template = Object.keys(chatTemplatesOf(files)).length === 0
      ? undefined
      : new ChatTemplateRunner(files, {
        worker: options.workers.chatTemplate,
        timeoutMs: options.templateTimeoutMs,
        maxThreads: options.maxTemplateThreads,
        maxWaiting: options.maxWaiting,
        maxHeapMiB: options.maxTemplateHeapMiB,
        maxCharacters: options.maxTemplateCharacters,
        now: options.now
      })
    this.#encoders = new Piscina({
      filename: options.workers.tokenizer.href,
      // Whoever expects long texts warms up, and most tests see none at all; a worker once started stays.
      minThreads: 0,
      maxThreads: options.maxTokenizerThreads,
      idleTimeout: Infinity,
      workerData: { directory }
    })
  }

  async encode (text: string, options: TextEncodeOptions): Promise<TokenId[]> {
    this.#refuseTooLong([text], options.maxTokens)
    const part = { text, addSpecialTokens: options.addSpecialTokens, parseSpecialTokens: options.parseSpecialTokens ?? true }
    return await this.#encodeParts([part], Math.max(text.length, options.requestCharacters ?? 0))
  }

  /** All parts are one piece of work: however many there are, they wait in one place. */
  async #encodeParts (parts: readonly EncodeTask[], requestCharacters: number): Promise<TokenId[]> {
    if (requestCharacters <= this.#options.inlineCharacters) return parts.flatMap(part => this.#tokenizer.encode(part.text, part))
    const { queueSize } = this.#encoders
    if (queueSize >= this.#options.maxWaiting) throw new TextBusyError({ numWaiting: queueSize, limit: this.#options.maxWaiting })
    try {
      return Array.from(await this.#encoders.run(parts))
    } catch (cause) {
      throw new EncodingFailedError({ characters: requestCharacters }, { cause })
    }
  }

  decode (tokens: readonly TokenId[], options: DecodeOptions): string {
    const detokenizer = this.detokenizer(options)
    const parts = tokens.map(token => detokenizer.push(token))
    parts.push(detokenizer.flush())
    return parts.join('')
  }

  async encodeChat (messages: readonly ChatMessage[], options: ChatTemplateOptions): Promise<TokenId[]> {
    if (this.#escape === undefined) return await this.#encodeRendered([{ text: await this.#render(messages, options), literal: false }], options.maxTokens)
    const escape = this.#escape
    const safe = messages.map(message => escape.escapeMessage(message))
    const rendered = await this.#render(safe, escape.escapeOptions(options))
    return await this.#encodeRendered(escape.split(rendered), options.maxTokens)
  }

  detokenizer (options: DecodeOptions): Detokenizer {
    const skip = options.skipSpecialTokens ? this.#special : NOTHING
    return new ByteDetokenizer(this.#tokenBytes, skip, options.continuation === true ? KEEP_START : this.#rule.strip)
  }

  tokenBytes (token: TokenId): Uint8Array {
    return this.#tokenBytes.of(token)
  }

  get isWarmingUp (): boolean { return this.#isWarmingUp }

  async warmUp (): Promise<void> {
    this.#isWarmingUp = true
    // A worker that ends before its first text tells the pool, not the text, which would wait for ever.
    const failed = new AbortController()
    const onError = (error: unknown): void => { failed.abort(error) }
    this.#encoders.once('error', onError)
    try {
      await this.#encoders.run([], { signal: failed.signal })
    } catch (cause) {
      if (!this.#isClosed) throw new EncodingFailedError({ characters: 0 }, { cause: failed.signal.aborted ? failed.signal.reason : cause })
    } finally {
      this.#encoders.off('error', onError)
      this.#isWarmingUp = false
    }
  }

  async close (): Promise<void> {
    this.#isClosed = true
    await Promise.all([this.#template?.close(), this.#encoders.destroy()])
  }

  async #render (messages: readonly ChatMessage[], options: ChatTemplateOptions): Promise<string> {
    return this.#template === undefined ? renderPlainChat(messages, options) : await this.#template.render(messages, options)
  }

  /** A template places its special tokens itself; the plain transcript has none, so its first part gets the tokenizer's. */
  async #encodeRendered (parts: readonly TextPart[], maxTokens: number | undefined): Promise<TokenId[]> {
    this.#refuseTooLong(parts.map(({ text }) => text), maxTokens)
    const tasks = parts.map(({ text, literal }, i) => ({ text, addSpecialTokens: this.#template === undefined && i === 0, parseSpecialTokens: !literal }))
    return await this.#encodeParts(tasks, parts.reduce((sum, { text }) => sum + text.length, 0))
  }

  #refuseTooLong (texts: readonly string[], maxTokens = Infinity): void {
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
    const fewestTokens = Math.ceil(bytes / this.#maxBytesPerToken)
    if (fewestTokens > maxTokens) throw new TextTooLongError({ bytes, fewestTokens, maxTokens })
  }
}
