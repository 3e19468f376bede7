/** An engine process without an engine: the real messages, scheduler and KV accounting around a scripted runner. */
import { composeCore } from '../../apps/server/src/engine-process/compose.ts'
import { runEngineProcess } from '../../apps/server/src/engine-process/engine-process.ts'
import { forkedProcessChannel } from '../../apps/server/src/engine-process/process-channel.ts'
import { fakeLimits, fakeReport, FakeSteps, scriptOf } from './fake-engine-script.ts'
import { PagedFakeRunner } from './paged-fake-runner.ts'

runEngineProcess(async (config, listener) => {
  const steps = new FakeSteps(config)
  await steps.load(listener)
  if (scriptOf(config.engine.model).blockWhenReady === true) {
    // By then the parent has been told.
    setTimeout(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0), 0)
  }
  const runner = new PagedFakeRunner(fakeLimits(config), steps, scriptOf(config.engine.model).memory?.numHostSlots)
  return composeCore({ runner, report: fakeReport(config) }, config, listener)
}, forkedProcessChannel())
