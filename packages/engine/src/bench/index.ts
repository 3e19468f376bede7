export type { KernelBench, KernelBenchPlan, KernelBenchReport, KernelCeilings, KernelKind, KernelMeasurement } from './kernel-bench.ts'
export { openKernelBench } from './open-kernel-bench.ts'
