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
  | 'ENGINE_NO_ADAPTER'
  | 'ENGINE_DEVICE_LOST'
  | 'ENGINE_STALLED_LAYER'
  | 'ENGINE_OUT_OF_DEVICE_MEMORY'
  | 'ENGINE_INVALID_SHADER'
  | 'ENGINE_KERNEL_CONTRACT'
  | 'ENGINE_INVALID_BATCH'

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

/** No GPU and no software adapter that Dawn accepts. */
export class NoAdapterError extends EngineError {
  override readonly name = 'NoAdapterError'
  override readonly code = 'ENGINE_NO_ADAPTER'
  override readonly details: { readonly adapterName: string | undefined }
  constructor (details: NoAdapterError['details']) {
    super(details.adapterName === undefined
      ? 'no GPU adapter was found. Install a Vulkan driver for the GPU, or Mesa 24 or newer for the software adapter ' +
        '(Debian and Ubuntu: apt-get install libvulkan1 mesa-vulkan-drivers), or start through `npm start`, which fetches one'
      : `no GPU adapter has ${printed(details.adapterName)} in its name`)
    this.details = details
  }
}

/** The device is gone (driver reset, time-out, unplugged); this process can do no more work on it. */
export class DeviceLostError extends EngineError {
  override readonly name = 'DeviceLostError'
  override readonly code = 'ENGINE_DEVICE_LOST'
  override readonly details: { readonly reason: string, readonly message: string }
  constructor (details: DeviceLostError['details']) {
    super(`the GPU device was lost (${details.reason}): ${details.message}`)
    this.details = details
  }
}

/** Workgroups of a layer waited for one that was not running beside them: something else keeps a part of the GPU busy. The step's results are none. */
export class StalledLayerError extends EngineError {
  override readonly name = 'StalledLayerError'
  override readonly code = 'ENGINE_STALLED_LAYER'
  override readonly details: { readonly step: number }
  constructor (details: StalledLayerError['details']) {
    super(`step ${details.step}: workgroups of a layer waited in vain for each other, since not all of them got a part of the GPU; start with --no-whole-layers if something else uses it`)
    this.details = details
  }
}

/** The device refused an allocation. */
export class OutOfDeviceMemoryError extends EngineError {
  override readonly name = 'OutOfDeviceMemoryError'
  override readonly code = 'ENGINE_OUT_OF_DEVICE_MEMORY'
  override readonly details: { readonly label: string, readonly bytes: number }
  constructor (details: OutOfDeviceMemoryError['details'], cause?: unknown) {
    super(`the GPU has no room for ${details.label} (${(details.bytes / 2 ** 20).toFixed(1)} MiB); ` +
      'lower --kv-cache-memory, --max-num-seqs, --max-num-batched-tokens or --max-model-len', { cause })
    this.details = details
  }
}

/** A shader the driver or Dawn refused: a defect of ours, shown with its line. */
export class InvalidShaderError extends EngineError {
  override readonly name = 'InvalidShaderError'
  override readonly code = 'ENGINE_INVALID_SHADER'
  override readonly details: { readonly kernel: string, readonly messages: readonly string[] }
  constructor (details: InvalidShaderError['details']) {
    super(`kernel ${details.kernel} does not compile:\n${details.messages.join('\n')}`)
    this.details = details
  }
}

/** A kernel's declaration and its shader disagree. */
export class KernelContractError extends EngineError {
  override readonly name = 'KernelContractError'
  override readonly code = 'ENGINE_KERNEL_CONTRACT'
  override readonly details: { readonly kernel: string, readonly problem: string }
  constructor (details: KernelContractError['details']) {
    super(`kernel ${details.kernel}: ${details.problem}`)
    this.details = details
  }
}

/** A batch that breaks the contract with the scheduler. */
export class InvalidBatchError extends EngineError {
  override readonly name = 'InvalidBatchError'
  override readonly code = 'ENGINE_INVALID_BATCH'
  override readonly details: { readonly step: number, readonly problem: string }
  constructor (details: InvalidBatchError['details']) {
    super(`step ${details.step}: ${details.problem}`)
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
  const text = asJson(value) ?? typeof value
  return text.length <= 120 ? text : `${text.slice(0, 117)}...`
}

/** Undefined for what JSON cannot say, and for what is nested more deeply than the stack allows. */
function asJson (value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}
