import type { KernelBenchPlan, KernelKind } from '@daybreak/engine'

export const KERNEL_KINDS: readonly KernelKind[] = ['linear', 'attention', 'rowwise', 'sampling']

/** What was asked for; undefined is the adapter's default. */
export interface KernelsFlags {
  readonly synthetic?: string
  readonly rows?: readonly number[]
  readonly contexts?: readonly number[]
  readonly batches?: readonly number[]
  readonly prefix?: number
  readonly degree: number
  readonly only: readonly KernelKind[]
  readonly dtype: KernelBenchPlan['dtype']
  readonly deterministic: boolean
  readonly tune: boolean
  readonly saveKnown?: string
  readonly adapter?: string
  readonly json: boolean
}

const ON_A_GPU = { shape: 'llama-3.2-1b', rows: [1, 4, 8, 16, 32, 64, 128, 512, 2048], contexts: [576, 2048], batches: [1, 32, 128] }
/** Done in less than a minute on two cores. */
const ON_THE_CPU = { shape: 'daybreak-mini', rows: [1, 4, 16], contexts: [64], batches: [1, 4] }

/** The flags, with what they leave open as suits the adapter. */
export function kernelBenchPlan (flags: KernelsFlags, software: boolean): Omit<KernelBenchPlan, 'tuningFolder' | 'onProgress'> {
  const defaults = software ? ON_THE_CPU : ON_A_GPU
  return {
    shape: flags.synthetic ?? defaults.shape,
    kinds: flags.only,
    rows: flags.rows ?? defaults.rows,
    contexts: flags.contexts ?? defaults.contexts,
    batches: flags.batches ?? defaults.batches,
    shared: flags.prefix === undefined ? undefined : { keys: flags.prefix, degree: flags.degree },
    dtype: flags.dtype,
    deterministic: flags.deterministic,
    tune: flags.tune
  }
}
