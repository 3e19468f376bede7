import type { OpenKernelBench } from './kernels/kernels-command.ts'

/** Opens the real device. Loads the GPU code only now: `bench serve` and `--help` do without. */
export const openKernelBench: OpenKernelBench = async adapter => {
  const engine = await import('@daybreak/engine')
  return await engine.openKernelBench(adapter)
}
