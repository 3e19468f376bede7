import { once } from 'node:events'
import t from 'tap'
import { ManualClock } from '../fakes/manual-clock.ts'
import { POISON_TOKEN } from '../fakes/fake-engine-script.ts'
import { continuation } from '../fakes/fake-language.ts'
import { aReadyEngine, aRequest, aSupervisedEngine, finishesOf, isGone, readAll, readRest, readTokens, requirePid, tokensOf, waitUntil } from '../fakes/supervised-engine.ts'

// Each engine is a process of its own, and a busy machine takes a second or two to start one.
t.setTimeout(180_000)

t.test('a stream whose engine is killed in the middle goes on with exactly the tokens it would have had', async t => {
  await using engine = await aReadyEngine({ hangAt: { incarnation: 0, step: 12 } })
  const streams = [0, 1, 2].map(seed => engine.supervisor.generate(aRequest({ id: `r${seed}`, promptTokens: [7, seed], maxTokens: 40, seeds: [seed, seed + 10] })))
  const iterators = streams.map(stream => stream[Symbol.asyncIterator]())
  // Of the first, five tokens; of the other two, however much has come by then.
  const before = await Promise.all(iterators.map(async (iterator, index) => index === 0 ? await readTokens(iterator, 5) : []))
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

t.test('many streams keep their own tokens through three deaths in a row', async t => {
  await using engine = await aReadyEngine({ dieAt: { belowIncarnation: 3, step: 9 } })
  // Shared beginnings, so that streams also share KV blocks; more sequences than run at a time.
  const prompts = Array.from({ length: 10 }, (_, i) => [...Array.from({ length: 15 + 7 * (i % 3) }, (_, j) => j), 100 + i])
  const all = await Promise.all(prompts.map(async (promptTokens, i) =>
    await readAll(engine.supervisor.generate(aRequest({ id: `r${i}`, promptTokens, maxTokens: 20 + 3 * i, seeds: [i, i + 50] })))))
  for (const [i, events] of all.entries()) {
    const promptTokens = prompts[i] ?? []
    t.same(tokensOf(events, 0), continuation(promptTokens, 20 + 3 * i, i))
    t.same(tokensOf(events, 1), continuation(promptTokens, 20 + 3 * i, i + 50))
    t.same(finishesOf(events), ['length', 'length'])
  }
  t.equal(engine.supervisor.numRestarts, 3)
})

t.test('requests whose blocks were in host memory when the engine died are computed again, and say the same', async t => {
  // Each needs six of the nine blocks in the end. From the 48th token on the third has to wait, and the process dies at about the 60th.
  await using engine = await aReadyEngine({ dieAt: { belowIncarnation: 1, step: 60 }, memory: { numKVBlocks: 9, numHostSlots: 32 } })
  const restarted = once(engine.events, 'restart')
  const streams = [0, 1, 2].map(seed => engine.supervisor.generate(aRequest({ id: `r${seed}`, promptTokens: [9, seed], maxTokens: 80, seeds: [seed] })))
  const reading = streams.map(async stream => await readAll(stream))
  await restarted
  const { swappedOutBlocks, swappedInBlocks } = engine.supervisor.stats
  t.strictSame([swappedOutBlocks, swappedInBlocks], [3, 0], 'the first process took them out and never brought them back')
  for (const [seed, events] of (await Promise.all(reading)).entries()) {
    t.same(tokensOf(events), continuation([9, seed], 80, seed))
    t.same(finishesOf(events), ['length'])
  }
  t.equal(engine.supervisor.numRestarts, 1)
  t.match(engine.supervisor.stats, { numSwapped: 0, hostTierUsage: 0 })
})

t.test('an engine that stops progressing is replaced, and health is restored once it is gone', async t => {
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
  t.ok(engine.supervisor.progressing, 'also while the next one loads')
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
  if (engine.supervisor.state !== 'ready') await once(engine.events, 'ready')
  t.equal(engine.supervisor.numRestarts, 3)
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
