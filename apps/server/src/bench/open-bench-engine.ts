import type { OpenEngineForBench } from './engine/engine-command.ts'

/** Opens the real engine. Loads the GPU code only now: `bench serve` and `--help` do without. */
export const openBenchEngine: OpenEngineForBench = async options => {
  const { openEngine } = await import('@daybreak/engine')
  return { engine: await openEngine(options), copyBandwidth: undefined }
}
