import { once } from 'node:events'
import t from 'tap'
import { ManualClock } from '../fakes/manual-clock.ts'
import { POISON_TOKEN } from '../fakes/fake-engine-script.ts'
import { continuation } from '../fakes/fake-language.ts'
import { aReadyEngine, aRequest, aSupervisedEngine, finishesOf, readAll, readRest, readTokens, tokensOf } from '../fakes/supervised-engine.ts'

const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

const requirePid = (pid: number | undefined): number => {
  if (pid === undefined) throw new Error('no engine process')
  return pid
}

t.test('a request is answered through a real process with all its tokens and one finish for each choice', async t => {
  await using engine = await aReadyEngine()
  const events = await readAll(engine.supervisor.generate(aRequest({ seeds: [1, 2], maxTokens: 30 })))
  t.same(tokensOf(events, 0), continuation([1, 2, 3], 30, 1))
  t.same(tokensOf(events, 1), continuation([1, 2, 3], 30, 2))
  t.same(finishesOf(events), ['length', 'length'])
  t.equal(events.filter(event => event.type === 'scheduled').length, 1)
  t.ok(events.every(event => event.id === 'r'), 'events carry the id the caller chose')
})

t.test('a stream whose engine is killed in the middle goes on with exactly the tokens it would have had', async t => {
  await using engine = await aReadyEngine({ hangAt: { incarnation: 0, step: 12 } })
  const streams = [0, 1, 2].map(seed => engine.supervisor.generate(aRequest({ id: `r${seed}`, promptTokens: [7, seed], maxTokens: 40, seeds: [seed, seed + 10] })))
  const iterators = streams.map(stream => stream[Symbol.asyncIterator]())
  const [first] = iterators
  if (first === undefined) return t.fail('no stream')
  // Of the other two, however much has come by then.
  const before = [await readTokens(first, 5), [], []]
  const restarted = once(engine.events, 'restart')
  process.kill(requirePid(engine.supervisor.enginePid), 'SIGKILL')
  const after = await Promise.all(iterators.map(async iterator => await readRest(iterator)))
  t.same(await restarted, [3], 'all three were replayed')
  for (const [seed, events] of before.entries()) {
    const all = [...events, ...after[seed] ?? []]
    t.same(tokensOf(all, 0), continuation([7, seed], 40, seed))
    t.same(tokensOf(all, 1), continuation([7, seed], 40, seed + 10))
    t.equal(all.filter(event => event.type === 'scheduled').length, 1, 'scheduled is said once')
    t.same(finishesOf(all), ['length', 'length'])
  }
  t.equal(engine.supervisor.state, 'ready')
})

t.test('an engine that stops progressing is replaced, and health is restored by the first step', async t => {
  const clock = new ManualClock()
  await using engine = await aReadyEngine({ hangAt: { incarnation: 0, step: 6 } }, { clock, stallTimeoutMs: 60_000 })
  const iterator = engine.supervisor.generate(aRequest({ maxTokens: 20 }))[Symbol.asyncIterator]()
  const before = await readTokens(iterator, 6)
  const hungPid = requirePid(engine.supervisor.enginePid)
  clock.advance(59_999)
  t.ok(engine.supervisor.progressing)
  clock.advance(1)
  t.notOk(engine.supervisor.progressing)
  const restarted = once(engine.events, 'restart')
  await waitUntil(() => engine.supervisor.state === 'recovering')
  clock.advance(1)
  await restarted
  const events = [...before, ...await readRest(iterator)]
  t.same(tokensOf(events), continuation([1, 2, 3], 20, 0))
  t.ok(engine.supervisor.progressing)
  t.ok(isGone(hungPid))
})

t.test('a stopped engine process is a stalled one', async t => {
  const clock = new ManualClock()
  await using engine = await aReadyEngine({}, { clock })
  process.kill(requirePid(engine.supervisor.enginePid), 'SIGSTOP')
  const events = readAll(engine.supervisor.generate(aRequest({ maxTokens: 8 })))
  clock.advance(60_000)
  await waitUntil(() => engine.supervisor.state === 'recovering')
  clock.advance(1)
  t.same(tokensOf(await events), continuation([1, 2, 3], 8, 0))
})

t.test('an idle engine, or one whose only reader has paused, does not stall', async t => {
  const clock = new ManualClock()
  await using engine = await aReadyEngine({}, { clock })
  clock.advance(600_000)
  const stream = engine.supervisor.generate(aRequest({ maxTokens: 8 }))
  stream.pause()
  clock.advance(600_000)
  t.ok(engine.supervisor.progressing)
  t.equal(engine.supervisor.numRestarts, 0)
  stream.resume()
  t.same(tokensOf(await readAll(stream)), continuation([1, 2, 3], 8, 0))
})

t.test('a request that kills every engine it meets is failed after the third, and its neighbours lose nothing', async t => {
  await using engine = await aReadyEngine()
  const good = [1, 2].map(seed => engine.supervisor.generate(aRequest({ id: `good${seed}`, promptTokens: [seed], maxTokens: 300, seeds: [seed] })))
  const poison = engine.supervisor.generate(aRequest({ id: 'poison', promptTokens: [5, POISON_TOKEN] }))
  const [poisoned, ...others] = await Promise.all([poison, ...good].map(readAll))
  t.same(finishesOf(poisoned ?? []), ['error'])
  t.match(poisoned?.at(-1), { type: 'finish', error: { code: 'ENGINE_CRASHED_BY_REQUEST' } })
  for (const [index, events] of others.entries()) t.same(tokensOf(events), continuation([index + 1], 300, index + 1))
  t.equal(engine.supervisor.numRestarts, 3)
  t.equal(engine.supervisor.state, 'ready')
})

t.test('an engine that keeps dying is given up, and what waits for it ends with an error', async t => {
  await using engine = await aReadyEngine(
    { loading: { belowIncarnation: 0, how: 'exit' }, dieAt: { belowIncarnation: 1_000, step: 1 } },
    { maxCrashesPerRequest: 1_000, restart: { initialDelayMs: 1, maxDelayMs: 1, maxFailures: 4, windowMs: 300_000 } })
  const failed = once(engine.events, 'failed')
  const events = await readAll(engine.supervisor.generate(aRequest()))
  t.same(finishesOf(events), ['error'])
  t.same(tokensOf(events), continuation([1, 2, 3], tokensOf(events).length, 0), 'what was delivered is right')
  await failed
  t.equal(engine.supervisor.state, 'failed')
  t.notOk(engine.supervisor.progressing)
  t.throws(() => engine.supervisor.generate(aRequest()), { code: 'SERVER_UNAVAILABLE' })
})

t.test('what the engine says when it cannot load at all is final', async t => {
  const engine = aSupervisedEngine({ loading: { belowIncarnation: 1_000, how: 'fatal' } })
  const failed = once(engine.events, 'failed')
  engine.supervisor.start()
  t.throws(() => engine.supervisor.generate(aRequest()), { code: 'SERVER_UNAVAILABLE' }, 'nothing is accepted while loading')
  t.match(await failed, [{ code: 'ENGINE_NO_ADAPTER', message: 'no adapter: install one' }])
  t.equal(engine.supervisor.numRestarts, 0)
  await engine.supervisor.drain(0)
})

t.test('loading that dies without a word is tried again, and loading that hangs is cut off', async t => {
  for (const how of ['exit', 'hang'] as const) {
    const clock = new ManualClock()
    const engine = aSupervisedEngine({ loading: { belowIncarnation: 1, how } }, { clock, loadTimeoutMs: 5_000 })
    const ready = once(engine.events, 'ready')
    const progress = once(engine.events, 'progress')
    engine.supervisor.start()
    if (how === 'hang') {
      await progress
      clock.advance(5_000)
    }
    await waitUntil(() => engine.supervisor.enginePid === undefined)
    clock.advance(1)
    await ready
    t.equal(engine.supervisor.numRestarts, 1)
    await engine.supervisor.drain(0)
  }
})

t.test('draining lets a stream finish, refuses new ones, and leaves no process', async t => {
  const engine = await aReadyEngine()
  const pid = requirePid(engine.supervisor.enginePid)
  const events = readAll(engine.supervisor.generate(aRequest({ maxTokens: 200 })))
  const drained = engine.supervisor.drain(60_000)
  t.equal(engine.supervisor.state, 'draining')
  t.throws(() => engine.supervisor.generate(aRequest({ id: 'late' })), { code: 'SERVER_UNAVAILABLE' })
  t.same(finishesOf(await events), ['length'])
  await drained
  t.ok(isGone(pid))
})

t.test('draining aborts what has not finished by the deadline', async t => {
  const clock = new ManualClock()
  const engine = await aReadyEngine({ hangAt: { incarnation: 0, step: 3 } }, { clock, stallTimeoutMs: 10_000_000 })
  const pid = requirePid(engine.supervisor.enginePid)
  const iterator = engine.supervisor.generate(aRequest())[Symbol.asyncIterator]()
  await readTokens(iterator, 3)
  const drained = engine.supervisor.drain(30_000)
  clock.advance(29_999)
  t.equal(engine.supervisor.stats.numRunning, 1)
  clock.advance(1)
  t.same(finishesOf(await readRest(iterator)), ['abort'])
  await drained
  t.ok(isGone(pid))
  t.equal(clock.numTimers, 0, 'no timer is left behind')
})

t.test('a process that ignores the request to exit is killed', async t => {
  const clock = new ManualClock()
  const engine = await aReadyEngine({}, { clock, exitTimeoutMs: 10_000 })
  const pid = requirePid(engine.supervisor.enginePid)
  process.kill(pid, 'SIGSTOP')
  const drained = engine.supervisor.drain(0)
  clock.advance(10_000)
  await drained
  t.ok(isGone(pid))
})

t.test('the queue is bounded in requests and in prompt tokens, and scheduling makes room again', async t => {
  await using engine = await aReadyEngine({}, { queue: { maxRequests: 3, maxTokens: 100 } })
  const long = Array.from({ length: 60 }, (_, i) => i)
  const first = engine.supervisor.generate(aRequest({ id: 'a', promptTokens: long }))
  t.throws(() => engine.supervisor.generate(aRequest({ id: 'b', promptTokens: long })), { code: 'SERVER_QUEUE_FULL', details: { waitingTokens: 60, limit: 100 } })
  engine.supervisor.generate(aRequest({ id: 'c' }))
  engine.supervisor.generate(aRequest({ id: 'd' }))
  t.throws(() => engine.supervisor.generate(aRequest({ id: 'e' })), { code: 'SERVER_QUEUE_FULL', details: { numWaiting: 3, limit: 3 } })
  await readAll(first)
  await readAll(engine.supervisor.generate(aRequest({ id: 'f', promptTokens: long })))
})

t.test('a prompt that leaves no room for a token is refused at once', async t => {
  await using engine = await aReadyEngine()
  const promptOf = (numTokens: number): number[] => Array.from({ length: numTokens }, (_, i) => i % 100)
  t.throws(() => engine.supervisor.generate(aRequest({ promptTokens: promptOf(512) })), { code: 'SCHEDULER_CONTEXT_LENGTH', details: { promptTokens: 512, maxModelLen: 512 } })
  const events = await readAll(engine.supervisor.generate(aRequest({ promptTokens: promptOf(511), maxTokens: 1 })))
  t.equal(tokensOf(events).length, 1)
})

t.test('one choice can be aborted while the other goes on, also across a restart', async t => {
  await using engine = await aReadyEngine({ hangAt: { incarnation: 0, step: 5 } })
  const stream = engine.supervisor.generate(aRequest({ seeds: [3, 4], maxTokens: 20 }))
  const iterator = stream[Symbol.asyncIterator]()
  const before = await readTokens(iterator, 5)
  stream.abort(0)
  stream.abort(0)
  process.kill(requirePid(engine.supervisor.enginePid), 'SIGKILL')
  const events = [...before, ...await readRest(iterator)]
  t.same(finishesOf(events), ['abort', 'length'])
  t.equal(tokensOf(events, 0).length, 5)
  t.same(tokensOf(events, 1), continuation([1, 2, 3], 20, 4))
})

t.test('leaving the loop early aborts the request', async t => {
  await using engine = await aReadyEngine()
  for await (const events of engine.supervisor.generate(aRequest({ maxTokens: 400 }))) {
    if (tokensOf(events).length > 0) break
  }
  await waitUntil(() => engine.supervisor.stats.numRunning === 0)
  const again = await readAll(engine.supervisor.generate(aRequest({ maxTokens: 3 })))
  t.equal(tokensOf(again).length, 3, 'and its id is free again')
})

t.test('two unfinished requests cannot have one id', async t => {
  await using engine = await aReadyEngine({ hangAt: { incarnation: 0, step: 0 } })
  engine.supervisor.generate(aRequest())
  t.throws(() => engine.supervisor.generate(aRequest()), { code: 'GENERATION_DUPLICATE_ID' })
})

/** Looks again at every turn of the event loop; the test's own time limit ends a wait in vain. */
async function waitUntil (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}
