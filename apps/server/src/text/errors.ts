/** What can go wrong between text and token ids. Only the wire knows which HTTP status each becomes. */

export type TextErrorCode = 'TEXT_MODEL_FILE' | 'TEXT_UNSUPPORTED_TOKENIZER' | 'TEXT_CHAT_TEMPLATE' | 'TEXT_ENCODING_FAILED' | 'TEXT_TOO_LONG' | 'TEXT_BUSY'

/** A tokenizer or configuration file is missing, unreadable, or not what its name promises. */
export class ModelFileError extends Error {
  override readonly name = 'ModelFileError'
  readonly code = 'TEXT_MODEL_FILE' satisfies TextErrorCode
  readonly details: { readonly file: string; readonly problem: string }

  constructor (details: ModelFileError['details'], options?: ErrorOptions) {
    super(`${details.file}: ${details.problem}`, options)
    this.details = details
  }
}

/** The tokenizer's model is of a kind that is not known here, or its decoder of one that cannot be undone token by token. */
export class UnsupportedTokenizerError extends Error {
  override readonly name = 'UnsupportedTokenizerError'
  readonly code = 'TEXT_UNSUPPORTED_TOKENIZER' satisfies TextErrorCode
  readonly details: { readonly decoder: string } | { readonly model: string }

  constructor (details: UnsupportedTokenizerError['details']) {
    super('model' in details
      ? `tokenizer.json: the tokenizer is of the kind ${details.model}, which is not supported; BPE and Unigram are`
      : `tokenizer.json: decoder ${details.decoder} is not supported; ByteLevel, Metaspace and SentencePiece byte-fallback decoders are`)
    this.details = details
  }
}

/**
 * The chat template gave no prompt for these messages. `failed`: it called `raise_exception`, or it is broken (the template engine
 * throws the same kind of error for both); `timeout` and `memory`: it was cut off. The request's fault as far as the server can
 * tell: a 400.
 */
export class ChatTemplateError extends Error {
  override readonly name = 'ChatTemplateError'
  readonly code = 'TEXT_CHAT_TEMPLATE' satisfies TextErrorCode
  readonly details: { readonly reason: 'failed' | 'timeout' | 'memory'; readonly timeoutMs: number }

  constructor (message: string, details: ChatTemplateError['details'], options?: ErrorOptions) {
    super(message, options)
    this.details = details
  }
}

/** The text cannot have as few tokens as it may have; found without tokenising it. */
export class TextTooLongError extends Error {
  override readonly name = 'TextTooLongError'
  readonly code = 'TEXT_TOO_LONG' satisfies TextErrorCode
  readonly details: { readonly bytes: number; readonly fewestTokens: number; readonly maxTokens: number }

  constructor (details: TextTooLongError['details']) {
    super(`a text of ${details.bytes} bytes has at least ${details.fewestTokens} tokens; at most ${details.maxTokens} are possible`)
    this.details = details
  }
}

/** More texts wait for a worker than may wait. Another try soon may find room. */
export class TextBusyError extends Error {
  override readonly name = 'TextBusyError'
  readonly code = 'TEXT_BUSY' satisfies TextErrorCode
  readonly details: { readonly numWaiting: number; readonly limit: number }

  constructor (details: TextBusyError['details']) {
    super(`${details.numWaiting} texts are waiting to be tokenised or rendered; at most ${details.limit} may`)
    this.details = details
  }
}

/** A tokenizer worker died while it held this text. Nothing else is affected; the pool replaces the worker. */
export class EncodingFailedError extends Error {
  override readonly name = 'EncodingFailedError'
  readonly code = 'TEXT_ENCODING_FAILED' satisfies TextErrorCode
  readonly details: { readonly characters: number }

  constructor (details: EncodingFailedError['details'], options?: ErrorOptions) {
    super(`tokenising ${details.characters} characters failed`, options)
    this.details = details
  }
}
