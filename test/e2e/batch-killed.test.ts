import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { toFile } from 'openai'
import type OpenAI from 'openai'
import t from 'tap'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { DaybreakProcess } from './daybreak-process.ts'

const program = fileURLToPath(new URL('../fakes/fake-engine-server.ts', import.meta.url))
const POLL_MS = 5
/** Each costs the start of a server: more of them are for a longer run, with DAYBREAK_TEST_KILLS=50. */
const numKills = Number(process.env['DAYBREAK_TEST_KILLS'] ?? 4)
const numLines = 100 * numKills
const seed = Number(process.env['DAYBREAK_TEST_SEED'] ?? 20261126)
t.comment(`seed ${seed}, ${numKills} kills`)

interface Result {
  readonly custom_id: string
  readonly response: { readonly body: { readonly choices: ReadonlyArray<{ readonly text: string }> } }
}

async function aServer (dataFolder: string): Promise<DaybreakProcess> {
  const server = await DaybreakProcess.start(['--data-dir', dataFolder, '--max-num-seqs', '8', '--log-level', 'info'], program)
  if ('missing' in server) throw new Error(server.missing)
  return server
}

async function submit (client: OpenAI): Promise<string> {
  const random = new SeededRandom(seed)
  const documents = Array.from({ length: 20 }, (_, i) => `document ${i} `.repeat(10))
  const lines = Array.from({ length: numLines }, (_, i) => JSON.stringify({
    custom_id: `line ${i}`,
    method: 'POST',
    url: '/v1/completions',
    body: { model: 'daybreak-mini', prompt: `${random.pick(documents)}${i}`, max_tokens: random.between(1, 30), seed: i, ignore_eos: true }
  }))
  const file = await client.files.create({ file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'), purpose: 'batch' })
  return (await client.batches.create({ input_file_id: file.id, endpoint: '/v1/completions', completion_window: '24h' })).id
}

async function completed (server: DaybreakProcess, id: string): Promise<Array<readonly [string, string]>> {
  let batch = await server.client.batches.retrieve(id)
  for (; batch.status !== 'completed'; batch = await server.client.batches.retrieve(id)) await delay(POLL_MS)
  t.match(batch.request_counts, { total: numLines, completed: numLines, failed: 0 })
  const text = await (await server.client.files.content(batch.output_file_id ?? '')).text()
  const results = text.trimEnd().split('\n').map(line => JSON.parse(line) as Result)
  t.equal(results.length, numLines, 'every line is answered once')
  return results.map(({ custom_id: customId, response }) => [customId, response.body.choices[0]?.text ?? ''] as const).sort(([a], [b]) => a < b ? -1 : 1)
}

t.test('a batch whose server is killed again and again is answered as one that nobody disturbed', async t => {
  const random = new SeededRandom(seed)
  const folder = t.testdir({})
  const undisturbed = await aServer(join(folder, 'undisturbed'))
  const expected = await completed(undisturbed, await submit(undisturbed.client))
  undisturbed.signal('SIGKILL')

  const dataFolder = join(folder, 'killed')
  let server = await aServer(dataFolder)
  const id = await submit(server.client)
  let numDone = 0
  for (let kill = 0; kill < numKills; kill++) {
    // Some of them before a line of this process's own is answered, and the last ones while results are published.
    const target = Math.min(numLines, numDone + random.integer(2 * numLines / numKills))
    for (;;) {
      const { request_counts: counts, status } = await server.client.batches.retrieve(id)
      if (status === 'completed' || (status !== 'validating' && (counts?.completed ?? 0) >= target)) break
      await delay(POLL_MS)
    }
    server.signal('SIGKILL')
    await server.exited()
    server = await aServer(dataFolder)
    numDone = (await server.client.batches.retrieve(id)).request_counts?.completed ?? 0
  }
  t.strictSame(await completed(server, id), expected)
})
