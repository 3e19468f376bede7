export { ChatTemplateError, EncodingFailedError, ModelFileError, TextBusyError, TextTooLongError, UnsupportedTokenizerError, type TextErrorCode } from './errors.ts'
export { openTextService, type TextServiceOptions } from './open-text-service.ts'
export type { ChatMessage, ChatTemplateOptions, DecodeOptions, Detokenizer, TextEncodeOptions, TextService } from './text-service.ts'
export { neighbouringWorkers, type WorkerLocations } from './worker-location.ts'
