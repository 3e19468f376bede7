import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { scriptedShape } from '../fakes/fake-engine-script.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { DaybreakProcess } from './daybreak-process.ts'
import { answersOf, submitBatches } from './undisturbed-batches.ts'

const MAX_SEQUENCES = 8
/** So slow that both batches are still there at most of the kills. */
const STEP_MS = 5
/** Between looks at how far the batches are: often enough that some servers die while results are published. */
const POLL_MS = 5
/** DAYBREAK_TEST_ENGINE=real: daybreak-mini on this machine's adapter, with fewer lines and shorter answers, in place of an engine that has none. */
const isReal = process.env['DAYBREAK_TEST_ENGINE'] === 'real'
/** Each costs the start of a server or an engine: more of them are for a longer run, with DAYBREAK_TEST_KILLS=50, or 10 of a real engine. */
const numKills = Number(process.env['DAYBREAK_TEST_KILLS'] ?? 4)
const seed = Number(process.env['DAYBREAK_TEST_SEED'] ?? 20261126)
const program = isReal ? undefined : fileURLToPath(new URL('../fakes/fake-engine-server.ts', import.meta.url))
const numLines = (isReal ? 30 : 100) * numKills
const mostTokens = isReal ? 4 : 30
/** Lines of the two batches that are open at the same time. */
const sizes = [numLines - Math.floor(2 * numLines / 5), Math.floor(2 * numLines / 5)]
t.comment(`seed ${seed}, ${numKills} kills, ${sizes.join(' and ')} lines`)

type Victim = 'server' | 'engine'
const victims: readonly Victim[] = ['server', 'engine']

const batches = { sizes, numDocuments: 20, mostTokens, temperature: isReal ? 0 : 1, seed }

async function aServer (dataFolder: string, stepMs = STEP_MS): Promise<DaybreakProcess> {
  const fake = isReal ? [] : ['--synthetic', scriptedShape({ stepMs }), '--served-model-name', 'daybreak-mini']
  const server = await DaybreakProcess.start(['--data-dir', dataFolder, '--max-num-seqs', `${MAX_SEQUENCES}`, '--log-level', 'info', ...fake], program)
  if ('missing' in server) throw new Error(server.missing)
  return server
}

/** How far both batches are. */
async function progressOf ({ client }: DaybreakProcess, ids: readonly string[]): Promise<{ readonly numDone: number, readonly numOpen: number, readonly isValidating: boolean }> {
  const batches = await Promise.all(ids.map(async id => await client.batches.retrieve(id)))
  return {
    numDone: batches.reduce((sum, { request_counts: counts }) => sum + (counts?.completed ?? 0), 0),
    numOpen: batches.filter(({ status }) => status === 'in_progress').length,
    isValidating: batches.some(({ status }) => status === 'validating')
  }
}

t.test('two batches whose server and engine are killed again and again are answered as those that nobody disturbed', async t => {
  t.setTimeout(3_600_000)
  const random = new SeededRandom(seed)
  const folder = t.testdir({})
  const undisturbed = await aServer(join(folder, 'undisturbed'), 0)
  const expected = await answersOf(t, undisturbed, await submitBatches(undisturbed.client, batches), batches)
  undisturbed.signal('SIGKILL')

  const dataFolder = join(folder, 'killed')
  let server = await aServer(dataFolder)
  let numEngineKills = 0
  const ids = await submitBatches(server.client, batches)
  let { numDone } = await progressOf(server, ids)
  for (let i = 0; i < numKills; i++) {
    const victim = victims[i] ?? random.pick(victims)
    // Some servers before a line of their own is answered, and the last ones while results are published. Engines have answered what they
    // were given when the one before them was killed: after a few deaths in its presence a request would be blamed for them.
    const target = Math.min(numLines, numDone + (victim === 'engine' ? 2 * MAX_SEQUENCES : 0) + random.integer(2 * numLines / numKills))
    let progress = await progressOf(server, ids)
    for (; progress.numDone < target || progress.isValidating; progress = await progressOf(server, ids)) await delay(POLL_MS)
    t.comment(`${progress.numDone} lines are answered, ${progress.numOpen} batches are open: the ${victim} is killed`)
    if (victim === 'server') {
      server.signal('SIGKILL')
      await server.exited()
      server = await aServer(dataFolder)
      numEngineKills = 0
    } else {
      // The one that has replaced the last: that one's number may be another process's by now.
      await server.logged('engine-ready', numEngineKills + 1)
      process.kill(server.enginePid, 'SIGKILL')
      numEngineKills++
    }
    // What a new server counts before it has read what the last one wrote is less than there is.
    numDone = Math.max(progress.numDone, (await progressOf(server, ids)).numDone)
  }
  t.strictSame(await answersOf(t, server, ids, batches), expected)
})
