import { keepYoungGenerationSmall } from '../engine-process/node-flags.ts'
import type { OpenEngineForBench } from './engine/engine-command.ts'

/** Opens the real engine. Loads the GPU code only now: `bench serve` and `--help` do without. */
export const openBenchEngine: OpenEngineForBench = async options => {
  keepYoungGenerationSmall()
  const { openEngine } = await import('@daybreak/engine')
  const engine = await openEngine(options)
  return { engine, copyBandwidth: await engine.measureCopyBandwidth(), profiler: engine }
}
