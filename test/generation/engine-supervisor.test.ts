import t from 'tap'
import { continuation } from '../fakes/fake-language.ts'
import { aReadyEngine, aRequest, aSupervisedEngine, finishesOf, readAll, requirePid, tokensOf, waitUntil } from '../fakes/supervised-engine.ts'

// Each engine is a process of its own, and a busy machine takes a second or two to start one.
t.setTimeout(180_000)

t.test('a request is answered through a real process with all its tokens and one finish for each choice', async t => {
  await using engine = await aReadyEngine()
  const events = await readAll(engine.supervisor.generate(aRequest({ seeds: [1, 2], maxTokens: 30 })))
  t.same(tokensOf(events, 0), continuation([1, 2, 3], 30, 1))
  t.same(tokensOf(events, 1), continuation([1, 2, 3], 30, 2))
  t.same(finishesOf(events), ['length', 'length'])
  t.equal(events.filter(event => event.type === 'scheduled').length, 1)
  t.ok(events.every(event => event.id === 'r'), 'events carry the id the caller chose')
})

t.test('a Ctrl-C that reaches the whole process group leaves the engine to the server', async t => {
  await using engine = await aReadyEngine()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(requirePid(engine.supervisor.enginePid), signal)
  t.same(tokensOf(await readAll(engine.supervisor.generate(aRequest({ maxTokens: 20 })))), continuation([1, 2, 3], 20, 0))
  t.equal(engine.supervisor.numRestarts, 0)
})

t.test('top log-probabilities arrive with their tokens, and stop tokens end a stream', async t => {
  await using engine = await aReadyEngine()
  const request = aRequest({ maxTokens: 20 })
  const [, , third = -1] = continuation([1, 2, 3], 3, 0)
  const choices = request.choices.map(choice => ({ ...choice, sampling: { ...choice.sampling, numLogprobs: 2 } }))
  const events = await readAll(engine.supervisor.generate({ ...request, choices, stopTokens: [third] }))
  t.match(events.filter(event => event.type === 'token'), Array.from({ length: 3 }, () => ({ topLogprobs: [{ token: 0, logprob: 0 }, { token: 1, logprob: -1 }] })))
  t.match(events.at(-1), { type: 'finish', reason: 'stop', stopToken: third })
})

t.test('a server that is told to stop before it has started starts nothing', async t => {
  const engine = aSupervisedEngine()
  await engine.supervisor.drain(0)
  engine.supervisor.start()
  t.equal(engine.supervisor.enginePid, undefined)
  t.equal(engine.supervisor.state, 'draining')
})

t.test('the queue is bounded in requests and in prompt tokens, and scheduling makes room again', async t => {
  await using engine = await aReadyEngine({}, { queue: { maxRequests: 3, maxTokens: 100 } })
  const long = Array.from({ length: 60 }, (_, i) => i)
  const first = engine.supervisor.generate(aRequest({ id: 'a', promptTokens: long }))
  t.throws(() => engine.supervisor.generate(aRequest({ id: 'b', promptTokens: long })), { code: 'SERVER_QUEUE_FULL', details: { waitingTokens: 60, limit: 100 } })
  engine.supervisor.generate(aRequest({ id: 'c' }))
  engine.supervisor.generate(aRequest({ id: 'd' }))
  t.throws(() => engine.supervisor.generate(aRequest({ id: 'e' })), { code: 'SERVER_QUEUE_FULL', details: { numWaiting: 3, limit: 3 } })
  await readAll(engine.supervisor.generate({ ...aRequest({ id: 'g', promptTokens: long }), background: true }))
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
