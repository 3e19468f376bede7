import { EventEmitter, once } from 'node:events'
import t from 'tap'
import type { StepResult } from '@daybreak/engine/contract'
import { KVCache, kvCacheConfig } from '@daybreak/kvcache'
import { GenerationLoop, Scheduler, schedulerConfig, systemClock } from '@daybreak/scheduler'
import type { Clock, GenerationEvent, GenerationListener, SchedulerConfig, StepSummary } from '@daybreak/scheduler'
import { FakeClock } from '../fakes/fake-clock.ts'
import { FakeModelRunner } from '../fakes/fake-model-runner.ts'
import { continuation, greedySampling } from '../fakes/fake-model.ts'
import { aRequest } from './harness.ts'

type Respond = (result: StepResult) => Promise<StepResult>

/** A loop around the fake runner, with everything it said, and a way to wait until it has said something. */
class LoopUnderTest implements AsyncDisposable, GenerationListener {
  readonly clock = new FakeClock()
  readonly events: GenerationEvent[] = []
  readonly summaries: StepSummary[] = []
  readonly failures: unknown[] = []
  readonly runner: FakeModelRunner
  readonly scheduler: Scheduler
  readonly loop: GenerationLoop
  readonly #said = new EventEmitter()

  constructor (respond?: Respond, stepsInFlight?: number, config: Partial<SchedulerConfig> = {}, clock: Clock = this.clock) {
    this.runner = new FakeModelRunner({}, respond)
    const { limits } = this.runner
    const kvCache = new KVCache(kvCacheConfig({ numBlocks: limits.numKVBlocks, blockSize: limits.blockSize }))
    this.scheduler = new Scheduler(schedulerConfig(config), kvCache, limits, clock)
    const depth = stepsInFlight === undefined ? {} : { stepsInFlight }
    this.loop = new GenerationLoop({ scheduler: this.scheduler, runner: this.runner, clock, listener: this, ...depth })
  }

  onEvents (events: readonly GenerationEvent[], summary: StepSummary | undefined): void {
    this.events.push(...events)
    if (summary !== undefined) this.summaries.push(summary)
    this.#said.emit('said')
  }

  onFailure (error: unknown): void {
    this.failures.push(error)
    this.#said.emit('said')
  }

  async until (condition: () => boolean): Promise<void> {
    while (!condition()) await once(this.#said, 'said')
  }

  has (type: GenerationEvent['type'], id: string): boolean {
    return this.events.some(event => event.type === type && event.id === id)
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.loop[Symbol.asyncDispose]()
  }
}

/** Holds every step back until it is let go; `held` is how many the loop has submitted meanwhile. */
class Gate {
  readonly #held: Array<() => void> = []
  readonly #arrived = new EventEmitter()

  get held (): number {
    return this.#held.length
  }

  readonly respond: Respond = async result => {
    const released = new Promise<void>(resolve => this.#held.push(resolve))
    this.#arrived.emit('arrived')
    await released
    return result
  }

  open (count = this.#held.length): void {
    for (const release of this.#held.splice(0, count)) release()
  }

  async until (held: number): Promise<void> {
    while (this.#held.length < held) await once(this.#arrived, 'arrived')
  }
}

/** Lets everything that is ready run, timers apart. */
async function turns (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve))
}

t.test('requests are generated to their end, and every step is reported', async t => {
  const test = new LoopUnderTest(async result => ({ ...result, hostSeconds: 0.25, deviceSeconds: 0.5 }))
  const requests = [aRequest(), aRequest({ numChoices: 2 }), aRequest({ numPromptTokens: 100 })]
  for (const request of requests) test.loop.add(request)
  await test.until(() => requests.every(({ id }) => test.has('finish', id)))
  await test.until(() => test.loop.stats.numRunning === 0)
  for (const { id, promptTokens } of [requests[0], requests[2]].flatMap(request => request ?? [])) {
    const output = test.events.flatMap(event => event.type === 'token' && event.id === id ? [event.token] : [])
    t.same(output, continuation(test.runner.limits, promptTokens, greedySampling, 6))
  }
  await test.loop[Symbol.asyncDispose]()
  t.equal(test.summaries.length, test.loop.stats.numSteps)
  t.match(test.summaries[0], { numTokens: 64, numSequences: 3, hostSeconds: 0.25, deviceSeconds: 0.5 })
  t.same(test.failures, [])
})

for (const depth of [1, 2, 3]) {
  t.test(`up to ${depth} steps are submitted before the first returns`, async t => {
    const gate = new Gate()
    await using test = new LoopUnderTest(gate.respond, depth)
    const request = aRequest({ maxTokens: 20 })
    test.loop.add(request)
    await gate.until(depth)
    await turns(5)
    t.equal(gate.held, depth)
    gate.open(1)
    await test.until(() => test.summaries.length === 1)
    await gate.until(depth)
    t.equal(gate.held, depth, 'one more follows each that returns')
    test.loop.abort(request.id)
    gate.open()
  })
}

t.test('work that arrives while a step runs is submitted beside it', async t => {
  const gate = new Gate()
  await using test = new LoopUnderTest(gate.respond)
  test.loop.add(aRequest({ maxTokens: 1 }))
  await gate.until(1)
  await turns(3)
  t.equal(gate.held, 1, 'nothing more to submit')
  const second = aRequest({ maxTokens: 1 })
  test.loop.add(second)
  await gate.until(2)
  t.ok(test.has('scheduled', second.id))
  gate.open()
  await test.until(() => test.has('finish', second.id))
})

t.test('the idle loop sleeps until something happens', async t => {
  await using test = new LoopUnderTest()
  let numSchedules = 0
  const schedule = test.scheduler.schedule.bind(test.scheduler)
  test.scheduler.schedule = () => {
    numSchedules++
    return schedule()
  }
  await turns(20)
  t.equal(numSchedules, 0)
  const request = aRequest({ maxTokens: 1 })
  test.loop.add(request)
  await test.until(() => test.has('finish', request.id))
  const soFar = numSchedules
  await turns(20)
  t.ok(numSchedules <= soFar + 1, 'one look finds nothing more')
})

t.test('a result never keeps other events of the process waiting', async t => {
  await using test = new LoopUnderTest()
  const request = aRequest({ maxTokens: 100 })
  test.loop.add(request)
  let numTurns = 0
  while (!test.has('finish', request.id)) {
    await turns(1)
    numTurns++
  }
  t.ok(numTurns >= 100, `${numTurns} turns of the event loop`)
})

t.test('an abort is reported before the call returns, whatever is in flight', async t => {
  const gate = new Gate()
  await using test = new LoopUnderTest(gate.respond)
  const request = aRequest({ maxTokens: 20, numChoices: 2 })
  test.loop.add(request)
  await gate.until(1)
  test.loop.abort(request.id, 1)
  t.match(test.events.at(-1), { type: 'finish', choice: 1, reason: 'abort' })
  test.loop.abort(request.id)
  t.match(test.events.at(-1), { type: 'finish', choice: 0, reason: 'abort' })
  gate.open()
  await test.until(() => test.summaries.length > 0)
  gate.open()
  t.notOk(test.has('token', request.id))
})

t.test('a paused request goes on when resumed', async t => {
  await using test = new LoopUnderTest()
  const request = aRequest({ maxTokens: 50 })
  test.loop.add(request)
  await test.until(() => test.has('token', request.id))
  test.loop.pause(request.id)
  await turns(10)
  const numSteps = test.loop.stats.numSteps
  await turns(10)
  t.equal(test.loop.stats.numSteps, numSteps)
  test.loop.resume(request.id)
  await test.until(() => test.has('finish', request.id))
})

t.test('a runner that rejects ends the loop: the failure is reported once, and new requests are refused', async t => {
  const test = new LoopUnderTest(async () => { throw new Error('device lost') })
  test.loop.add(aRequest())
  await test.until(() => test.failures.length > 0)
  await turns(10)
  t.match(test.failures, [{ message: 'device lost' }])
  t.equal(test.failures.length, 1)
  t.throws(() => test.loop.add(aRequest()), { code: 'scheduler_stopped' })
  await test.loop[Symbol.asyncDispose]()
})

t.test('a second step that rejects while the first is awaited is not an unhandled rejection', async t => {
  let step = 0
  const gate = new Gate()
  const test = new LoopUnderTest(async result => {
    if (step++ > 0) throw new Error('device lost')
    return await gate.respond(result)
  })
  test.loop.add(aRequest())
  await gate.until(1)
  await turns(5)
  t.same(test.failures, [])
  gate.open()
  await test.until(() => test.failures.length > 0)
  t.equal(test.summaries.length, 1, 'the first step still counts')
  await test.loop[Symbol.asyncDispose]()
})

t.test('disposal waits for the steps in flight and sends nothing after', async t => {
  const gate = new Gate()
  const test = new LoopUnderTest(gate.respond)
  test.loop.add(aRequest())
  await gate.until(2)
  let disposed = false
  const disposal = test.loop[Symbol.asyncDispose]().then(() => { disposed = true })
  await turns(5)
  t.notOk(disposed)
  gate.open()
  await disposal
  const numEvents = test.events.length
  await turns(5)
  t.equal(test.events.length, numEvents)
  t.throws(() => test.loop.add(aRequest()), { code: 'scheduler_stopped' })
})

t.test('the system clock counts seconds forward', async t => {
  const before = systemClock.now()
  t.ok(systemClock.now() >= before)
})

t.test('background work that waits until nobody has come for a while begins by itself when the while is over', async t => {
  await using under = new LoopUnderTest(undefined, undefined, { backgroundStepTokens: 0, backgroundQuietSeconds: 0.05 }, systemClock)
  const [first, background] = [aRequest({ maxTokens: 2 }), aRequest({ background: true, maxTokens: 2 })]
  under.loop.add(first)
  await under.until(() => under.has('finish', first.id))
  under.loop.add(background)
  await under.until(() => under.has('finish', background.id))
  t.same(under.failures, [])
})
