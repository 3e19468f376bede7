import t from 'tap'
import type { KernelTime } from '@daybreak/engine'
import type { ForwardBatch } from '@daybreak/engine/contract'
import { benchEngine } from '../../../apps/server/src/bench/engine/bench-engine.ts'
import { profileSteps, withoutPasses } from '../../../apps/server/src/bench/engine/profile-steps.ts'
import type { StepProfiles } from '../../../apps/server/src/bench/engine/profile-steps.ts'
import { StepPipeline } from '../../../apps/server/src/bench/engine/step-pipeline.ts'
import { CheckingRunner } from './checking-runner.ts'
import { engineReport } from './engine-report.ts'

const plan = { batches: [1, 3, 9], contexts: [40], prompts: [150], decodeTokens: 4, prefillRepeats: 1, warmupSteps: 1, seed: 1 }

/** Measures and profiles on a runner that holds both to the contract. @param times of each profile in turn */
async function profile (times: (batch: ForwardBatch, run: number) => readonly KernelTime[], repeats = 3): Promise<{ readonly profiles: StepProfiles, readonly profiled: readonly ForwardBatch[], readonly runner: CheckingRunner }> {
  const runner = new CheckingRunner()
  const engine = { runner, report: engineReport }
  const profiled: ForwardBatch[] = []
  const profiler = {
    profile: async (batch: ForwardBatch) => times(batch, profiled.push(batch) - 1),
    measurePassSeconds: async () => 0
  }
  const pipeline = new StepPipeline(runner, runner.now)
  const report = await benchEngine(engine, plan, { copyBandwidth: undefined, now: runner.now, onProgress () {}, pipeline })
  const profiles = await profileSteps(engine, report, { profiler, pipeline, passSeconds: 1e-6, repeats, seed: 1, now: runner.now, onProgress () {} })
  return { profiles, profiled, runner }
}

t.test('what was measured is profiled in the same composition, and what was skipped is not', async t => {
  const { profiles, profiled } = await profile(() => [{ label: 'a', dispatches: 2, seconds: 10e-6 }], 1)
  t.match(profiles.steps, [
    { type: 'prefill', batch: 1, context: 150, numSteps: 3, dispatches: 6 },
    { type: 'decode', batch: 1, context: 40, numSteps: 1, dispatches: 2 },
    { type: 'decode', batch: 3, context: 40, numSteps: 1, dispatches: 2 }
  ])
  const shapes = profiled.map(({ sequences }) => sequences.map(({ tokens, startPosition }) => [startPosition, tokens?.length]))
  // Each once to warm up and once to be counted.
  const twice = <T>(value: T): T[] => [value, value]
  t.strictSame(shapes, [
    ...twice([[0, 64]]), ...twice([[64, 64]]), ...twice([[128, 22]]),
    ...twice([[40, undefined]]),
    ...twice([[40, undefined], [40, undefined], [40, undefined]])
  ])
})

t.test('of several profiles the median of each kernel counts', async t => {
  // The first of each step only warms up.
  const { profiles } = await profile((_, run) => [{ label: 'a', dispatches: 1, seconds: [1, 5e-6, 90e-6, 7e-6][run % 4] ?? 0 }])
  t.ok(profiles.steps.slice(1).every(({ kernels }) => Math.abs((kernels[0]?.seconds ?? 0) - 6e-6) < 1e-12), 'the pass\' 1 µs is taken off 7')
})

t.test('a pass of its own is taken off every dispatch, down to nothing, and the rest is ordered by time', t => {
  const { kernels, dispatches, passSeconds } = withoutPasses([
    { label: 'short', dispatches: 10, seconds: 8 },
    { label: 'few', dispatches: 1, seconds: 5 },
    { label: 'few', dispatches: 2, seconds: 6 },
    { label: 'long', dispatches: 1, seconds: 31 }
  ], 1)
  t.strictSame(kernels, [{ label: 'long', dispatches: 1, seconds: 30 }, { label: 'few', dispatches: 3, seconds: 8 }, { label: 'short', dispatches: 10, seconds: 0 }])
  t.strictSame([dispatches, passSeconds], [14, 14])
  t.end()
})
