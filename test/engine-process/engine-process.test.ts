import t from 'tap'
import type { EngineCore } from '../../apps/server/src/engine-process/engine-core.ts'
import { runEngineProcess } from '../../apps/server/src/engine-process/engine-process.ts'
import type { EngineChannel } from '../../apps/server/src/engine-process/engine-process.ts'
import type { ChildMessage, EngineProcessConfig, ParentMessage } from '../../apps/server/src/engine-process/protocol.ts'
import { composeCore } from '../../apps/server/src/engine-process/compose.ts'
import { fakeLimits, fakeReport, FakeSteps, scriptedModel } from '../fakes/fake-engine-script.ts'
import { PagedFakeRunner } from '../fakes/paged-fake-runner.ts'
import { aRequest } from '../fakes/supervised-engine.ts'

const config: EngineProcessConfig = {
  engine: {
    model: scriptedModel({}),
    dtype: 'auto',
    adapter: undefined,
    debug: false,
    blockSize: 16,
    kvCacheBytes: undefined,
    maxModelLen: undefined,
    maxSequences: 4,
    maxBatchedTokens: 2048
  },
  scheduler: { maxBatchedTokens: undefined, prefixCaching: true, preemption: 'auto' },
  logLevel: 'info',
  incarnation: 0
}

/** A parent in the same process: its end of the channel, and what the engine process sent and did. */
class Parent implements EngineChannel {
  readonly received: ChildMessage[] = []
  exitCode: number | undefined
  #deliver = (_message: unknown): void => {}
  #disconnect = (): void => {}
  #waiting: Array<{ readonly type: string, readonly resolve: (message: ChildMessage) => void }> = []

  send (message: ChildMessage, sent?: () => void): void {
    this.received.push(message)
    this.#waiting = this.#waiting.filter(({ type, resolve }) => {
      if (type !== message.type) return true
      resolve(message)
      return false
    })
    sent?.()
  }

  onMessage (listener: (message: unknown) => void): void { this.#deliver = listener }
  onDisconnect (listener: () => void): void { this.#disconnect = listener }
  exit (code: number): void { this.exitCode ??= code }

  tell (message: ParentMessage): void { this.#deliver(message) }
  tellAnything (message: unknown): void { this.#deliver(message) }
  hangUp (): void { this.#disconnect() }

  /** The next message of this type. */
  async hear (type: ChildMessage['type']): Promise<ChildMessage> {
    return await new Promise(resolve => { this.#waiting.push({ type, resolve }) })
  }
}

async function aLoadedProcess (settings: Partial<EngineProcessConfig['scheduler']> = {}): Promise<Parent> {
  const parent = new Parent()
  runEngineProcess(async (config, listener) => {
    const steps = new FakeSteps(config)
    await steps.load(listener)
    return composeCore({ runner: new PagedFakeRunner(fakeLimits(config), steps), report: fakeReport(config) }, config, listener)
  }, parent)
  const ready = parent.hear('ready')
  parent.tell({ type: 'configure', config: { ...config, scheduler: { ...config.scheduler, ...settings } } })
  await ready
  return parent
}

t.test('loading is reported, then readiness with the capacity of what was loaded', async t => {
  const parent = await aLoadedProcess()
  t.same(parent.received.map(({ type }) => type), ['progress', 'ready'])
  t.match(parent.received[1], { capacity: { maxModelLen: 512, maxSequences: 4, numKVBlocks: 256, softwareAdapter: true } })
  parent.tell({ type: 'shutdown' })
})

t.test('on a software adapter steps are smaller, unless somebody says otherwise', async t => {
  t.match((await aLoadedProcess()).received.at(-1), { capacity: { maxBatchedTokens: 256 } })
  t.match((await aLoadedProcess({ maxBatchedTokens: 512 })).received.at(-1), { capacity: { maxBatchedTokens: 512 } })
  t.match((await aLoadedProcess({ maxBatchedTokens: 1_000_000 })).received.at(-1), { capacity: { maxBatchedTokens: 2048 } }, 'but not above what the engine can do')
})

t.test('what the scheduler refuses is answered with its code', async t => {
  const parent = await aLoadedProcess()
  const rejected = parent.hear('rejected')
  parent.tell({ type: 'generate', request: aRequest({ id: '0:r', promptTokens: [] }) })
  t.match(await rejected, { id: '0:r', code: 'invalid_request' })
  t.equal(parent.exitCode, undefined)
})

t.test('a step is one message with all its events', async t => {
  const parent = await aLoadedProcess()
  for (let handle = 0; handle < 3; handle++) parent.tell({ type: 'generate', request: aRequest({ id: `${handle}:r`, promptTokens: [handle], maxTokens: 1 }) })
  const scheduled = await parent.hear('step')
  t.equal(scheduled.type === 'step' && scheduled.openings.length, 3, 'being scheduled is told when it happens')
  const done = await parent.hear('step')
  t.match(done, { type: 'step', summary: { numSequences: 3 } })
  t.equal(done.type === 'step' && done.tokens.length / 4, 3)
  t.equal(done.type === 'step' && done.finishes.length, 3)
})

t.test('an abort between steps changes the snapshot at once', async t => {
  const parent = await aLoadedProcess()
  parent.tell({ type: 'generate', request: aRequest({ id: '0:r', maxTokens: 400 }) })
  await parent.hear('step')
  parent.tell({ type: 'abort', id: '0:r', choice: undefined })
  const last = parent.received.at(-1)
  t.match(last, { type: 'step', summary: undefined, stats: { numRunning: 0 } })
})

t.test('shutdown frees the engine before exiting with 0', async t => {
  let disposed = false
  const parent = new Parent()
  runEngineProcess(async (config, listener) => {
    const core = composeCore({ runner: new PagedFakeRunner(fakeLimits(config), new FakeSteps(config)), report: fakeReport(config) }, config, listener)
    const owned: EngineCore = { ...core, [Symbol.asyncDispose]: async () => { await core[Symbol.asyncDispose](); disposed = true } }
    return owned
  }, parent)
  const ready = parent.hear('ready')
  parent.tell({ type: 'configure', config })
  await ready
  const exited = new Promise<number>(resolve => { parent.exit = code => resolve(code) })
  parent.tell({ type: 'shutdown' })
  t.equal(await exited, 0)
  t.ok(disposed)
})

t.test('an engine that fails says why, once, and exits with 1', async t => {
  const parent = new Parent()
  runEngineProcess(async () => { throw Object.assign(new Error('out of memory'), { code: 'ENGINE_OUT_OF_DEVICE_MEMORY' }) }, parent)
  parent.tell({ type: 'configure', config })
  t.match(await parent.hear('fatal'), { code: 'ENGINE_OUT_OF_DEVICE_MEMORY', message: 'out of memory' })
  t.equal(parent.exitCode, 1)
})

t.test('a message from elsewhere ends the process rather than confusing it', async t => {
  const parent = await aLoadedProcess()
  parent.tellAnything({ type: 'eval', code: '1' })
  t.match(parent.received.at(-1), { type: 'fatal' })
  t.equal(parent.exitCode, 1)
})

t.test('without a parent the process exits', async t => {
  const parent = await aLoadedProcess()
  parent.hangUp()
  t.equal(parent.exitCode, 0)
})

t.test('what arrives between a fatal error and the exit goes unanswered, for the next process to do', async t => {
  const parent = new Parent()
  const ready = parent.hear('ready')
  runEngineProcess(async (config, listener) => {
    const failing = new PagedFakeRunner(fakeLimits(config), new FakeSteps(config))
    failing.execute = async () => { throw new Error('the device is gone') }
    return composeCore({ runner: failing, report: fakeReport(config) }, config, listener)
  }, parent)
  parent.tell({ type: 'configure', config })
  await ready
  const fatal = parent.hear('fatal')
  parent.tell({ type: 'generate', request: { ...aRequest(), id: '0:r' } })
  t.match(await fatal, { message: 'the device is gone' })
  parent.tell({ type: 'generate', request: { ...aRequest(), id: '1:r' } })
  t.equal(parent.exitCode, 1)
  t.notOk(parent.received.some(({ type }) => type === 'rejected'))
})
