/**
 * What can go wrong in the engine. Each failure has its class, a stable `code` and the numbers in `details`;
 * only apps/server turns them into HTTP.
 */
export type EngineErrorCode =
  | 'ENGINE_INVALID_MODEL_CONFIG'
  | 'ENGINE_UNSUPPORTED_MODEL'
  | 'ENGINE_UNKNOWN_MODEL_SHAPE'
  | 'ENGINE_INVALID_CHECKPOINT'
  | 'ENGINE_WEIGHT_RANGE'

/** Any failure of the engine that has a name. */
export abstract class EngineError extends Error {
  abstract readonly code: EngineErrorCode
  abstract readonly details: Readonly<Record<string, unknown>>
}

/** A number in a model's `config.json` is missing, of the wrong type or outside what any model could mean. */
export class InvalidModelConfigError extends EngineError {
  override readonly name = 'InvalidModelConfigError'
  override readonly code = 'ENGINE_INVALID_MODEL_CONFIG'
  override readonly details: { readonly field: string, readonly value: unknown, readonly expected: string }
  constructor (details: InvalidModelConfigError['details']) {
    super(`config.json: ${details.field} is ${printed(details.value)}; expected ${details.expected}`)
    this.details = details
  }
}

/** The model asks for something the engine cannot compute; running it anyway would answer nonsense. */
export class UnsupportedModelError extends EngineError {
  override readonly name = 'UnsupportedModelError'
  override readonly code = 'ENGINE_UNSUPPORTED_MODEL'
  override readonly details: { readonly field: string, readonly value: unknown, readonly supported: string }
  constructor (details: UnsupportedModelError['details']) {
    super(`this model needs ${details.field} = ${printed(details.value)}, which is not supported; supported: ${details.supported}`)
    this.details = details
  }
}

export class UnknownModelShapeError extends EngineError {
  override readonly name = 'UnknownModelShapeError'
  override readonly code = 'ENGINE_UNKNOWN_MODEL_SHAPE'
  override readonly details: { readonly shape: string, readonly known: readonly string[] }
  constructor (details: UnknownModelShapeError['details']) {
    super(`no model shape is named ${printed(details.shape)}; known: ${details.known.join(', ')}`)
    this.details = details
  }
}

/** A model directory or one of its files is damaged, incomplete, or not what the model's configuration says. */
export class InvalidCheckpointError extends EngineError {
  override readonly name = 'InvalidCheckpointError'
  override readonly code = 'ENGINE_INVALID_CHECKPOINT'
  /** `file` is the file or directory at fault; `tensor` the tensor, where one is. */
  override readonly details: { readonly file: string, readonly problem: string, readonly tensor: string | undefined }
  constructor (file: string, problem: string, at: { readonly tensor?: string, readonly cause?: unknown } = {}) {
    const subject = at.tensor === undefined ? '' : `tensor ${printed(at.tensor)}: `
    super(`${file}: ${subject}${problem}`, at.cause === undefined ? undefined : { cause: at.cause })
    this.details = { file, problem, tensor: at.tensor }
  }
}

/** Weights that are finite in the checkpoint would become infinite in the storage type asked for. */
export class WeightRangeError extends EngineError {
  override readonly name = 'WeightRangeError'
  override readonly code = 'ENGINE_WEIGHT_RANGE'
  /** `numOverflowed` of the `numValues` converted when the first one was met. */
  override readonly details: {
    readonly tensor: string
    readonly from: string
    readonly to: string
    readonly numOverflowed: number
    readonly numValues: number
  }

  constructor (details: WeightRangeError['details']) {
    super(`${details.numOverflowed} of ${details.numValues} values of tensor ${printed(details.tensor)} do not fit ${details.to} ` +
      `(the checkpoint stores ${details.from}); load the model with --dtype f32`)
    this.details = details
  }
}

/** Text from a file or a flag, quoted, escaped and cut, so that a message stays one readable line. */
function printed (value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length <= 120 ? text : `${text.slice(0, 117)}...`
}
