/**
 * Everything the wire needs to turn text into token ids and back, for one model. Below this folder there are only token ids.
 */
import type { TokenId } from '@daybreak/kvcache'

export interface ChatMessage {
  readonly role: string
  readonly content: string
  readonly name?: string
  readonly tool_calls?: ReadonlyArray<{ readonly id?: string; readonly type: 'function'; readonly function: { readonly name: string; readonly arguments: string } }>
  readonly tool_call_id?: string
}

export type TemplateVariable = string | number | boolean | null

export interface ChatTemplateOptions {
  /** OpenAI tool definitions, as the template's `tools`. */
  readonly tools?: readonly unknown[]
  /** What an answer may draw on, as the template's `documents`. */
  readonly documents?: ReadonlyArray<Readonly<Record<string, string>>>
  /** Further variables of the template. They never replace those that it has anyway. */
  readonly variables?: Readonly<Record<string, TemplateVariable>>
  /** Ends with what opens the assistant's turn. */
  readonly addGenerationPrompt: boolean
  /** Ends within the last message, behind its text, so that the model goes on with it. Not together with `addGenerationPrompt`. */
  readonly continueFinalMessage?: boolean
  /** As in `TextEncodeOptions`. */
  readonly maxTokens?: number
}

export interface TextEncodeOptions {
  readonly addSpecialTokens: boolean
  /**
   * Default true, as Hugging Face has it: a special token's name in the text is that token. False is the safe choice for text from
   * outside that no template has seen: it cannot forge a turn or an end, and decodes to the same text.
   */
  readonly parseSpecialTokens?: boolean
  /**
   * UTF-16 units of all texts of the request that this one belongs to; default: this one's own. Together they decide whether the event
   * loop can spare the time: many short texts at once hold it up as much as a long one.
   */
  readonly requestCharacters?: number
  /** A text that must have more tokens is refused untokenised; one that merely turns out to have more is not. */
  readonly maxTokens?: number
}

export interface DecodeOptions {
  readonly skipSpecialTokens: boolean
  /** The text goes on behind a prompt: keep the leading space that SentencePiece decoders take off a text's start. Default false. */
  readonly continuation?: boolean
}

export interface TextService {
  readonly vocabSize: number
  /** Tokens that end a generation unless `ignore_eos`. */
  readonly eosTokens: readonly TokenId[]
  /** Long inputs are tokenised off the event loop. @throws TextTooLongError, TextBusyError (rejects) */
  encode (text: string, options: TextEncodeOptions): Promise<TokenId[]>
  decode (tokens: readonly TokenId[], options: DecodeOptions): string
  /** Renders and tokenises; the template decides on special tokens, none are added. Throws ChatTemplateError for a template's own refusal, and what `encode` does. */
  encodeChat (messages: readonly ChatMessage[], options: ChatTemplateOptions): Promise<TokenId[]>
  detokenizer (options: DecodeOptions): Detokenizer
  /** The token's own bytes (may be part of a character) for `logprobs[].bytes`. */
  tokenBytes (token: TokenId): Uint8Array
  /**
   * Starts the worker for long texts, so that the first of them does not wait for it. Ends early when the service is closed.
   * @throws EncodingFailedError when the worker does not start (rejects)
   */
  warmUp (): Promise<void>
  /** Whether that is under way. */
  readonly isWarmingUp: boolean
  close (): Promise<void>
}

/** Incremental: the concatenation of everything returned equals `decode` of everything pushed. */
export interface Detokenizer {
  /** Text completed by this token; empty while a character is incomplete. */
  push (token: TokenId): string
  /** Whatever is left, an incomplete character as U+FFFD. */
  flush (): string
}
