import type { KernelCeilings, KernelMeasurement } from '@daybreak/engine'

/** A terabyte and a hundred tera-operations a second, two microseconds a dispatch. */
export const ceilings: KernelCeilings = { copyBytesPerSecond: 1e12, productFlopsPerSecond: 1e14, productKernel: 'matmul_best', productSize: 4096, dispatchSeconds: 2e-6 }

export function aMeasurement (changes: Partial<KernelMeasurement> = {}): KernelMeasurement {
  return {
    kind: 'linear',
    label: 'qkv',
    kernel: 'matmul_some',
    rows: 1,
    context: undefined,
    window: undefined,
    shared: undefined,
    weight: { outputs: 3072, inputs: 2048 },
    skipped: undefined,
    seconds: 20e-6,
    minSeconds: 19e-6,
    maxSeconds: 22e-6,
    bytes: 10_000_000,
    flops: 20_000_000,
    copies: 16,
    ...changes
  }
}
