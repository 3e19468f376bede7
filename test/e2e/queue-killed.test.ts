import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { toFile } from 'openai'
import type OpenAI from 'openai'
import t from 'tap'
import { scriptedShape } from '../fakes/fake-engine-script.ts'
import type { FakeEngineScript } from '../fakes/fake-engine-script.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { redisTest } from '../server/queue/redis-server.ts'
import { DaybreakProcess } from './daybreak-process.ts'

const program = fileURLToPath(new URL('../fakes/fake-engine-server.ts', import.meta.url))
const POLL_MS = 5
/** So slow that the batch is still there when the last of its servers is killed: they take seconds to start. */
const STEP_MS = 60
/** Most of them cost the start of a server: more are for a longer run, with DAYBREAK_TEST_KILLS=50. */
const numKills = Number(process.env['DAYBREAK_TEST_KILLS'] ?? 5)
const numLines = 100 * numKills
/** Lines of the two batches that are open at the same time. */
const sizes = [numLines - Math.floor(2 * numLines / 5), Math.floor(2 * numLines / 5)]
const seed = Number(process.env['DAYBREAK_TEST_SEED'] ?? 20261126)
t.comment(`seed ${seed}, ${numKills} kills`)

type Victim = 'owner' | 'worker' | "the owner's engine" | "the worker's engine" | 'redis'
const victims: readonly Victim[] = ['owner', 'worker', 'redis', "the owner's engine", "the worker's engine"]

interface Result {
  readonly custom_id: string
  readonly response: { readonly body: { readonly choices: ReadonlyArray<{ readonly text: string }> } }
}

async function aServer (dataFolder: string, script: FakeEngineScript, ...args: readonly string[]): Promise<DaybreakProcess> {
  const server = await DaybreakProcess.start(['--synthetic', scriptedShape(script), '--served-model-name', 'daybreak-mini', '--data-dir', dataFolder, '--max-num-seqs', '8', '--log-level', 'info', ...args], program)
  if ('missing' in server) throw new Error(server.missing)
  return server
}

async function submit (client: OpenAI): Promise<string[]> {
  const random = new SeededRandom(seed)
  const documents = Array.from({ length: Math.ceil(numLines / 25) }, (_, i) => `document ${i} `.repeat(10))
  const ids: string[] = []
  for (const size of sizes) {
    const lines = Array.from({ length: size }, (_, i) => JSON.stringify({
      custom_id: `line ${i}`,
      method: 'POST',
      url: '/v1/completions',
      body: { model: 'daybreak-mini', prompt: `${random.pick(documents)}${i}`, max_tokens: random.between(1, 30), seed: i, ignore_eos: true }
    }))
    const file = await client.files.create({ file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'), purpose: 'batch' })
    ids.push((await client.batches.create({ input_file_id: file.id, endpoint: '/v1/completions', completion_window: '24h' })).id)
  }
  return ids
}

type Answers = ReadonlyArray<readonly [customId: string, text: string]>

async function answersOf ({ client }: DaybreakProcess, ids: readonly string[]): Promise<Answers[]> {
  const all: Answers[] = []
  for (const [i, id] of ids.entries()) {
    let batch = await client.batches.retrieve(id)
    for (; batch.status !== 'completed'; batch = await client.batches.retrieve(id)) await delay(POLL_MS)
    t.match(batch.request_counts, { total: sizes[i], completed: sizes[i], failed: 0 })
    const text = await (await client.files.content(batch.output_file_id ?? '')).text()
    const results = text.trimEnd().split('\n').map(line => JSON.parse(line) as Result)
    t.equal(results.length, sizes[i], 'every line is answered once')
    all.push(results.map(({ custom_id: customId, response }) => [customId, response.body.choices[0]?.text ?? ''] as const).sort(([a], [b]) => a < b ? -1 : 1))
  }
  return all
}

redisTest('two batches of two servers over a Redis, all of which are killed again and again, are answered as those that nobody disturbed', async (t, redis) => {
  t.setTimeout(3_600_000)
  const random = new SeededRandom(seed)
  const folder = t.testdir({})
  const undisturbed = await aServer(join(folder, 'undisturbed'), {})
  const expected = await answersOf(undisturbed, await submit(undisturbed.client))
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
  const ids = await submit(owner.client)
  let numDone = 0
  for (let i = 0; i < numKills; i++) {
    const target = (i + random.integer(100) / 100) * numLines / (numKills + 1)
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
  }
  t.strictSame(await answersOf(owner, ids), expected)
  t.comment(`answers that came twice, since the owner's last start: ${(await owner.metrics()).value('daybreak_queue_answers_total', { what: 'repeated' })}`)
})
