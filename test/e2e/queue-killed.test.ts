import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { scriptedShape } from '../fakes/fake-engine-script.ts'
import type { FakeEngineScript } from '../fakes/fake-engine-script.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { redisTest } from '../server/queue/redis-server.ts'
import { DaybreakProcess } from './daybreak-process.ts'
import { answersOf, submitBatches } from './undisturbed-batches.ts'

/** So slow that the batch is still there when the last of its servers is killed: they take seconds to start. */
const STEP_MS = 60
/** Between looks at how far the batches are: two looks see every step. */
const POLL_MS = STEP_MS / 2
/** DAYBREAK_TEST_ENGINE=real: daybreak-mini on this machine's adapter, with fewer lines and shorter answers, in place of an engine that has none. */
const isReal = process.env['DAYBREAK_TEST_ENGINE'] === 'real'
const program = isReal ? undefined : fileURLToPath(new URL('../fakes/fake-engine-server.ts', import.meta.url))
/** Most of them cost the start of a server: more are for a longer run, with DAYBREAK_TEST_KILLS=50, or 10 of a real engine. */
const kills = process.env['DAYBREAK_TEST_KILLS']
const numKills = Number(kills ?? 5)
/** Of the larger batch: fewer a kill where the test is one of many. */
const numLines = numKills * (isReal ? 30 : kills === undefined ? 70 : 100)
/** Lines of the two batches that are open at the same time, until the smaller one is done. */
const sizes = [numLines, Math.floor(2 * numLines / 5)]
const numLinesInAll = sizes.reduce((sum, size) => sum + size, 0)
const seed = Number(process.env['DAYBREAK_TEST_SEED'] ?? 20261126)
t.comment(`seed ${seed}, ${numKills} kills, ${sizes.join(' and ')} lines`)

type Victim = 'owner' | 'worker' | "the owner's engine" | "the worker's engine" | 'redis'
const victims: readonly Victim[] = ['owner', 'worker', 'redis', "the owner's engine", "the worker's engine"]

const batches = { sizes, numDocuments: Math.ceil(numLinesInAll / 25), mostTokens: isReal ? 4 : 30, temperature: isReal ? 0 : 1, seed }

async function aServer (dataFolder: string, script: FakeEngineScript, ...args: readonly string[]): Promise<DaybreakProcess> {
  const fake = isReal ? [] : ['--synthetic', scriptedShape(script), '--served-model-name', 'daybreak-mini']
  const server = await DaybreakProcess.start([...fake, '--data-dir', dataFolder, '--max-num-seqs', '8', '--log-level', 'info', ...args], program)
  if ('missing' in server) throw new Error(server.missing)
  return server
}

redisTest('two batches of two servers over a Redis, all of which are killed again and again, are answered as those that nobody disturbed', async (t, redis) => {
  t.setTimeout(3_600_000)
  const random = new SeededRandom(seed)
  const folder = t.testdir({})
  const undisturbed = await aServer(join(folder, 'undisturbed'), {})
  const expected = await answersOf(t, undisturbed, await submitBatches(undisturbed.client, batches), batches)
  undisturbed.signal('SIGKILL')

  const start = async (name: string): Promise<DaybreakProcess> => await aServer(join(folder, name), { stepMs: STEP_MS }, '--queue', redis.url, '--queue-lease-seconds', '2')
  let [owner, worker] = await Promise.all([start('owner'), start('worker')])
  const restarted = async (server: DaybreakProcess, name: string): Promise<DaybreakProcess> => {
    server.signal('SIGKILL')
    await server.exited()
    return await start(name)
  }
  const engineKills = new Map<DaybreakProcess, number>()
  const killEngine = async (server: DaybreakProcess): Promise<void> => {
    const numKills = engineKills.get(server) ?? 0
    // The one that has replaced the last: that one's number may be another process's by now.
    await server.logged('engine-ready', numKills + 1)
    process.kill(server.enginePid, 'SIGKILL')
    engineKills.set(server, numKills + 1)
  }
  const kill = async (victim: Victim): Promise<void> => {
    switch (victim) {
      case 'owner': owner = await restarted(owner, 'owner'); break
      case 'worker': worker = await restarted(worker, 'worker'); break
      case 'redis': await redis.restart(); break
      case "the owner's engine": await killEngine(owner); break
      case "the worker's engine": await killEngine(worker); break
    }
  }
  const ids = await submitBatches(owner.client, batches)
  const killsOf = new Map<Victim, number>()
  let numDone = 0
  for (let i = 0; i < numKills; i++) {
    const target = (i + random.integer(100) / 100) * numLinesInAll / (numKills + 1)
    for (;;) {
      const batches = await Promise.all(ids.map(async id => await owner.client.batches.retrieve(id)))
      numDone = batches.reduce((sum, { request_counts: counts }) => sum + (counts?.completed ?? 0), 0)
      if (numDone >= target && batches.every(({ status }) => status !== 'validating')) break
      await delay(POLL_MS)
    }
    // Each kind of them in the shortest run.
    const victim = i < victims.length ? victims[i] ?? 'redis' : random.pick(victims)
    t.comment(`${numDone} lines are answered: ${victim} is killed`)
    await kill(victim)
    killsOf.set(victim, (killsOf.get(victim) ?? 0) + 1)
  }
  t.strictSame(await answersOf(t, owner, ids, batches), expected)
  t.comment(`killed: ${[...killsOf].map(([victim, count]) => `${victim} ${count}`).join(', ')}`)
  t.comment(`answers that came twice, since the owner's last start: ${(await owner.metrics()).value('daybreak_queue_answers_total', { what: 'repeated' })}`)
})
