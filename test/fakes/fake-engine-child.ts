/** An engine process without an engine: the real messages, scheduler and KV accounting around a scripted runner. */
import { composeCore } from '../../apps/server/src/engine-process/compose.ts'
import { runEngineProcess } from '../../apps/server/src/engine-process/engine-process.ts'
import { forkedProcessChannel } from '../../apps/server/src/engine-process/process-channel.ts'
import { fakeLimits, fakeReport, FakeSteps } from './fake-engine-script.ts'
import { PagedFakeRunner } from './paged-fake-runner.ts'

runEngineProcess(async (config, listener) => {
  const steps = new FakeSteps(config)
  await steps.load(listener)
  return composeCore({ runner: new PagedFakeRunner(fakeLimits(config), steps), report: fakeReport(config) }, config, listener)
}, forkedProcessChannel())
