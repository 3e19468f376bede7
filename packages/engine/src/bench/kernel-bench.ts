import type { AdapterReport, EngineOptions, StorageType } from '../engine.ts'
import type { TuneNamedShapesOptions } from '../tuning/tune-named-shapes.ts'
import type { SharedKeys } from './bench-batches.ts'

/** `linear`: products with weights. `attention`: tiles, splits and their merge, and the product that merges a single token's parts. `rowwise`: norms, rotation, embedding. `sampling`: from logits to tokens. */
export type KernelKind = 'linear' | 'attention' | 'rowwise' | 'sampling'

/** What to measure. */
export interface KernelBenchPlan {
  /** A named shape's layers are what is computed; how many there are does not matter. */
  readonly shape: string
  readonly kinds: readonly KernelKind[]
  /** Rows of `linear` and `rowwise`. */
  readonly rows: readonly number[]
  /** Tokens of a sequence, for `attention`: all of them as a prompt, and before each of a batch's decoded tokens. */
  readonly contexts: readonly number[]
  /** Sequences that decode together, for `attention` and `sampling`. */
  readonly batches: readonly number[]
  /** For `attention`: sequences that begin alike, measured with these keys attended together and apart, wherever contexts are longer. Undefined: none. */
  readonly shared: SharedKeys | undefined
  readonly dtype: EngineOptions['dtype']
  readonly deterministic: boolean
  /** As in EngineOptions: which kernels are chosen, when they have been measured. */
  readonly tuningFolder: string | undefined
  /** Measures which kernels are to be chosen even where that is known, and keeps it. */
  readonly tune: boolean
  /** `total` is 0 while it is not known. */
  readonly onProgress: (done: number, total: number, detail: string) => void
}

/** What this adapter can do at most, as far as our own kernels reach it. */
export interface KernelCeilings {
  /** Read plus written, of a plain copy larger than any cache. */
  readonly copyBytesPerSecond: number
  /** Of the best product kernel for these types. */
  readonly productFlopsPerSecond: number
  readonly productKernel: string
  /** Rows, columns and depth of that product. */
  readonly productSize: number
  /** From one dispatch that does nothing to the next that depends on it. */
  readonly dispatchSeconds: number
  /** Of signed bytes, which no model's weights are yet; undefined: the adapter has no tensor cores for them. */
  readonly int8?: Int8Ceiling | undefined
}

/** The best product of signed bytes. */
export interface Int8Ceiling {
  readonly opsPerSecond: number
  readonly kernel: string
  /** Rows, columns and depth. */
  readonly size: number
}

/** One kernel at one size. */
export interface KernelMeasurement {
  readonly kind: KernelKind
  /** As a step's dispatches are called: `qkv`, `attention_split`. */
  readonly label: string
  /** The variant that the engine chooses for this size; empty when it was not measured. */
  readonly kernel: string
  /** What it works on: tokens, sequences that decode, or rows of logits. */
  readonly rows: number
  /** Keys of the longest row; attention only. */
  readonly context: number | undefined
  /** Keys a query sees at most; undefined: all before it. */
  readonly window: number | undefined
  /** What sequences share, and whether they attend it together; undefined: nothing. */
  readonly shared: (SharedKeys & { readonly together: boolean }) | undefined
  /** Of the weight, gate and up projections counted as one; linear only. */
  readonly weight: { readonly outputs: number, readonly inputs: number } | undefined
  /** Why it was not measured; the numbers are then zeros. */
  readonly skipped: string | undefined
  /** Median of five. */
  readonly seconds: number
  readonly minSeconds: number
  readonly maxSeconds: number
  /** Operands and results, each counted once; zero where it is not known what a kernel must move. */
  readonly bytes: number
  readonly flops: number
  /** Sets of buffers that repetitions went through in turn. */
  readonly copies: number
}

export interface KernelBenchReport {
  readonly dtype: StorageType
  /** What is multiplied with weights. */
  readonly activation: StorageType
  readonly ceilings: KernelCeilings
  /** What of the shape was left out, in a few words each; mostly nothing. */
  readonly notes: readonly string[]
  readonly kernels: readonly KernelMeasurement[]
}

/** A device opened for measuring. Disposing it frees the device. */
export interface KernelBench extends AsyncDisposable {
  readonly adapter: AdapterReport
  /**
   * @throws UnknownModelShapeError; UnsupportedModelError for contexts that the shape does not have; OutOfDeviceMemoryError
   */
  run (plan: KernelBenchPlan): Promise<KernelBenchReport>
  /**
   * Measures which products are fastest here for named shapes, for the repository's tables.
   * @throws UnknownModelShapeError; UnsupportedModelError where the adapter has no tensor cores; OutOfDeviceMemoryError
   */
  tune (options: TuneNamedShapesOptions): Promise<KnownTable>
}

/** A table for the repository. */
export interface KnownTable {
  readonly adapter: string
  readonly numProducts: number
  /** The TypeScript module that holds it. */
  readonly source: string
}
