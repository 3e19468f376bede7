import t from 'tap'
import { ManualClock } from '../fakes/manual-clock.ts'
import { aReadyEngine, aRequest, finishesOf, isGone, readAll, readRest, readTokens, requirePid } from '../fakes/supervised-engine.ts'

// Each engine is a process of its own, and a busy machine takes a second or two to start one.
t.setTimeout(180_000)

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
  t.notOk(isGone(pid), 'it hangs in its step')
  clock.advance(500)
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
