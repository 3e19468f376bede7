import type { ForwardBatch, ModelRunner } from './contract.ts'

export type StorageType = 'f16' | 'f32'

/** Where weights come from: a Hugging Face directory, a GGUF file, or random ones of a named shape made on the GPU itself. */
export type ModelSource =
  | { readonly type: 'directory'; readonly path: string }
  | { readonly type: 'gguf'; readonly path: string }
  | { readonly type: 'synthetic'; readonly shape: string; readonly seed: number }

export interface LoadProgress {
  readonly stage: 'adapter' | 'weights' | 'kernels' | 'kv-cache'
  /** Bytes for weights, pipelines for kernels; 0 when unknown. */
  readonly done: number
  readonly total: number
  readonly detail: string
}

export interface EngineOptions {
  readonly model: ModelSource
  /** `auto`: f16 where the adapter computes in it and every weight fits it, f32 otherwise and on software adapters. */
  readonly dtype: 'auto' | StorageType
  /** Substring of the adapter's name; undefined takes the first real GPU, else the software adapter. */
  readonly adapter: string | undefined
  readonly debug: boolean
  /** Tokens per KV block. */
  readonly blockSize: number
  /** Bytes for the KV cache; undefined: as many blocks as the limits below can use, or as allocation allows. */
  readonly kvCacheBytes: number | undefined
  /**
   * Bytes of host memory for KV blocks of preempted sequences, taken when the engine opens. `auto`: 4 GiB but at most an eighth of the host's,
   * and none on software adapters, whose device memory is host memory. Undefined: none.
   */
  readonly swapSpaceBytes?: number | 'auto' | undefined
  /** Undefined: the model's own maximum. */
  readonly maxModelLen: number | undefined
  readonly maxSequences: number
  readonly maxBatchedTokens: number
  /**
   * Only kernels whose order of summation is the same for every batch: a row's bits depend on neither its neighbours, nor how a prompt was cut, nor
   * on preemption. Slower where there are tensor cores, all the same elsewhere. Undefined: false.
   */
  readonly deterministic?: boolean | undefined
  /** Decodes that begin with the same blocks attend these together where that saves enough; undefined: true. */
  readonly sharedAttention?: boolean | undefined
  /** A lone token's layers are computed by one kernel each where that is faster on this adapter; undefined: true. */
  readonly wholeLayers?: boolean | undefined
  /**
   * A folder for what is measured about the adapter: which of several kernels is fastest for this model. Measured where it is not in
   * there yet, in some seconds. Undefined: rules decide.
   */
  readonly tuningFolder?: string | undefined
  readonly onProgress: (progress: LoadProgress) => void
}

export interface AdapterReport {
  readonly name: string
  readonly vendor: string
  readonly architecture: string
  readonly driver: string
  readonly backend: string
  readonly software: boolean
  readonly features: readonly string[]
  readonly limits: Readonly<Record<string, number>>
  readonly subgroupMinSize: number
  readonly subgroupMaxSize: number
  readonly subgroupMatrixConfigs: ReadonlyArray<{
    readonly componentType: string
    readonly resultComponentType: string
    readonly m: number
    readonly n: number
    readonly k: number
  }>
}

/** Tensors that a model's files store in one format, and what the device keeps them as. */
export interface WeightFormat {
  /** As the file's format calls it: `BF16`, `Q4_K`, `awq int4`. */
  readonly format: string
  readonly tensors: number
  /** In the file. */
  readonly bytes: number
}

export interface EngineReport {
  readonly adapter: AdapterReport
  readonly dtype: StorageType
  readonly architecture: string
  readonly parameters: number
  readonly weightBytes: number
  /** What the files held, the largest share first; empty for synthetic weights. All of it is kept in `dtype`. */
  readonly weightFormats: readonly WeightFormat[]
  /** What the files ask for beside their weights and do not get, in a few words each; mostly nothing. */
  readonly notes: readonly string[]
  readonly kvCacheBytes: number
  /** Host memory taken for blocks of preempted sequences, and for their way back. */
  readonly swapSpaceBytes: number
  readonly loadSeconds: number
}

/** Device time of one kind of dispatch in a step. */
export interface KernelTime {
  readonly label: string
  readonly dispatches: number
  /** Sum over its dispatches. */
  readonly seconds: number
}

export interface Engine {
  readonly runner: ModelRunner
  readonly report: EngineReport
}

/** An engine on a real device, with what benches ask of one. */
export interface GpuEngine extends Engine {
  /**
   * Runs a batch's kernels one by one and times them, slowest first; never while steps are in flight.
   * @throws UnsupportedModelError where the adapter has no timestamps
   */
  profile (batch: ForwardBatch): Promise<readonly KernelTime[]>
  /**
   * Seconds that `profile` charges every dispatch beside its work, because each has a pass of its own.
   * @throws UnsupportedModelError where the adapter has no timestamps
   */
  measurePassSeconds (): Promise<number>
  /** Bytes per second, read plus written, of a plain copy on this adapter. */
  measureCopyBandwidth (): Promise<number>
}
