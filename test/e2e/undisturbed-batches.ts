import { setTimeout as delay } from 'node:timers/promises'
import { toFile } from 'openai'
import type OpenAI from 'openai'
import type { Test } from 'tap'
import { SeededRandom } from '../fakes/seeded-random.ts'
import type { DaybreakProcess } from './daybreak-process.ts'

/** Between looks at how far a batch is where the moment does not matter: each look costs client and server what ten answers do. */
const POLL_MS = 50

/** Batches of completions about a few documents each, the same ones for the same seed. */
export interface BatchesToSubmit {
  /** Lines of each. */
  readonly sizes: readonly number[]
  readonly numDocuments: number
  /** Longest answer; each line has its own, from one token on. */
  readonly mostTokens: number
  readonly temperature: number
  readonly seed: number
}

interface Result {
  readonly custom_id: string
  readonly response: { readonly body: { readonly choices: ReadonlyArray<{ readonly text: string }> } }
}

/** By custom id, in ascending order. */
export type Answers = ReadonlyArray<readonly [customId: string, text: string]>

/** @returns the ids of the batches */
export async function submitBatches (client: OpenAI, { sizes, numDocuments, mostTokens, temperature, seed }: BatchesToSubmit): Promise<string[]> {
  const random = new SeededRandom(seed)
  const documents = Array.from({ length: numDocuments }, (_, i) => `document ${i} `.repeat(10))
  const ids: string[] = []
  for (const size of sizes) {
    const lines = Array.from({ length: size }, (_, i) => JSON.stringify({
      custom_id: `line ${i}`,
      method: 'POST',
      url: '/v1/completions',
      body: { model: 'daybreak-mini', prompt: `${random.pick(documents)}${i}`, max_tokens: random.between(1, mostTokens), seed: i, temperature, ignore_eos: true }
    }))
    const file = await client.files.create({ file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'), purpose: 'batch' })
    ids.push((await client.batches.create({ input_file_id: file.id, endpoint: '/v1/completions', completion_window: '24h' })).id)
  }
  return ids
}

/** Waits for the end of each batch, and checks that every line has been answered once. */
export async function answersOf (t: Test, { client }: DaybreakProcess, ids: readonly string[], { sizes }: Pick<BatchesToSubmit, 'sizes'>): Promise<Answers[]> {
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
