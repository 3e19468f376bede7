import t from 'tap'
import type { Test } from 'tap'
import type { Engine } from '@daybreak/engine'
import type { ForwardBatch, ModelRunner, SamplingParams } from '@daybreak/engine/contract'
import type { GenerationRequest } from '@daybreak/scheduler'
import { ASSISTANT, BOS, END, SYSTEM, USER } from '../../../apps/server/src/eval/document.ts'
import { WORDS } from '../../../apps/server/src/eval/vocabulary.ts'
import { openTextService } from '../../../apps/server/src/text/index.ts'
import type { TextService } from '../../../apps/server/src/text/index.ts'
import { sharedPrefixes } from '../../../packages/engine/src/shared-prefixes.ts'
import { StepPacker } from '../../../packages/engine/src/step-inputs.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { engineTest, modelFolder, openForTest } from '../runner/engine-under-test.ts'
import { greedy } from '../runner/sequence-driver.ts'
import { Composition } from './composition.ts'
import type { CompositionOptions, Outcome } from './composition.ts'

const SEED = 21
/** Some 290 tokens, two whole splits of 128. */
const LINES = 24
/** Who asks for a line of the document: more than one group's where there is time for so many. */
const askersOn = ({ report: { adapter } }: Engine): number => adapter.software ? 5 : 120

const options = { dtype: 'auto', maxModelLen: 400, maxSequences: 128, maxBatchedTokens: 4096, kvCacheBytes: 64 << 20, blockSize: 16 } as const
// Keys of a small model are hardly ever worth attending together.
const engine = await openForTest('daybreak-mini', { ...options, deterministic: true }, { leastSavedKeys: 0 })
const fast = await openForTest('daybreak-mini', { ...options, sharedAttention: true }, { leastSavedKeys: 0 })
t.setTimeout(900_000)

interface Asked { readonly request: GenerationRequest, readonly answer: string | undefined }

/** One document, of which everybody asks a line; as the same prompts without it, a few who share nothing. */
async function askers (text: TextService, count: number): Promise<Asked[]> {
  const random = new SeededRandom(SEED)
  const words = random.shuffled(WORDS)
  const lines = Array.from({ length: LINES }, (_, i) => ({ key: `${words[2 * i]}-${words[2 * i + 1]}`, value: String(random.between(10_000, 99_999)) }))
  const document = `${BOS}${SYSTEM}${lines.map(({ key, value }) => `line ${key}: ${value}\n`).join('')}${END}`
  const asked = Array.from({ length: count }, (_, i) => lines[i % LINES] ?? { key: '', value: '' })
  const alone = ['dog', 'cat'].map(animal => ({ prompt: `${BOS}${USER}Tell me a story about a ${animal}.${ASSISTANT}`, answer: undefined }))
  const prompts = [...asked.map(({ key, value }) => ({ prompt: `${document}${USER}What is line ${key}?${ASSISTANT}`, answer: value })), ...alone]
  return await Promise.all(prompts.map(async ({ prompt, answer }, i) => ({ answer, request: aRequest(`asker-${i}`, await text.encode(prompt, { addSpecialTokens: false }), [greedy], text) })))
}

function aRequest (id: string, promptTokens: readonly number[], samplings: readonly SamplingParams[], text: TextService): GenerationRequest {
  return {
    id,
    promptTokens,
    choices: samplings.map(sampling => ({ sampling: { ...sampling, numLogprobs: 1 }, outputTokens: [] })),
    maxTokens: 12,
    stopTokens: text.eosTokens,
    priority: 0,
    promptLogprobs: undefined
  }
}

/** What the steps of a run shared: keys that decodes had in common at most, and the most groups that a step attended together. */
interface Shared { readonly keys: number, readonly groups: number }

/** Runs through the engine. */
async function run (runner: ModelRunner, composition: CompositionOptions, work: (composition: Composition) => Promise<void>): Promise<Shared> {
  let mostSaved = 0
  let groups = 0
  const { pack } = StepPacker.prototype
  StepPacker.prototype.pack = function (batch) {
    const packed = pack.call(this, batch)
    groups = Math.max(groups, packed.shape.groups)
    return packed
  }
  const watched: ModelRunner = {
    limits: runner.limits,
    execute: batch => {
      mostSaved = Math.max(mostSaved, savedBy(batch))
      return runner.execute(batch)
    },
    [Symbol.asyncDispose]: async () => {}
  }
  try {
    await using composed = new Composition(watched, composition)
    await work(composed)
  } finally {
    StepPacker.prototype.pack = pack
  }
  return { keys: mostSaved, groups }
}

function savedBy ({ sequences }: ForwardBatch): number {
  const rows = sequences.filter(({ tokens }) => tokens === undefined || tokens.length === 1).map(({ blockTable, startPosition }) => ({ table: blockTable, blocks: Math.floor(startPosition / options.blockSize) }))
  return sharedPrefixes(rows, { blockSize: options.blockSize, unit: 128, leastKeys: 128, leastMembers: 3, rowsSaved: count => count - 1 }).reduce((sum, { members, keys }) => sum + (members.length - 1) * keys, 0)
}

/** The first one's prompt is computed before the others come: they find it. */
async function together (composition: Composition, [first, ...others]: readonly GenerationRequest[]): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>()
  if (first === undefined) return outcomes
  outcomes.set(first.id, await composition.run(first))
  await Promise.all(others.map(async request => { outcomes.set(request.id, await composition.run(request)) }))
  return outcomes
}

function checkAnswers (t: Test, text: TextService, asked: readonly Asked[], outcomes: ReadonlyMap<string, Outcome>): void {
  const wrong = asked.filter(({ answer }) => answer !== undefined).map(({ request: { id }, answer }) => ({ id, answer, given: text.decode(outcomes.get(id)?.choices[0]?.tokens ?? [], { skipSpecialTokens: true }) }))
    .filter(({ answer, given }) => answer !== given)
  t.strictSame(wrong, [], 'every question is answered with its own number')
}

engineTest(`requests that find one document in the cache have the tokens and bits that they have alone (seed ${SEED})`, engine, async (t, engine) => {
  const text = await openTextService(modelFolder('daybreak-mini'))
  t.teardown(() => text.close())
  const asked = await askers(text, askersOn(engine))
  const alone = new Map<string, Outcome>()
  const saved = await run(engine.runner, { prefixCaching: false }, async composition => {
    for (const { request } of asked) alone.set(request.id, await composition.run(request))
  })
  t.same(saved, { keys: 0, groups: 0 }, 'nobody shares anything')
  checkAnswers(t, text, asked, alone)
  const savedTogether = await run(engine.runner, { prefixCaching: true }, async composition => {
    t.strictSame(await together(composition, asked.map(({ request }) => request)), alone, 'no token and no log-probability differs by a bit')
  })
  t.equal(savedTogether.keys, (askersOn(engine) - 2) * 256, 'keys that all but the first share')
  t.ok(savedTogether.groups > 0, 'and attend together')
})

engineTest('choices that are forked from one prompt have the bits of requests of one choice', engine, async (t, { runner }) => {
  const text = await openTextService(modelFolder('daybreak-mini'))
  t.teardown(() => text.close())
  const [asked] = await askers(text, 1)
  const prompt = asked?.request.promptTokens ?? []
  const samplings = [1, 2, 3, 4].map(seed => ({ ...greedy, temperature: 1.5, seed }))
  const apart: unknown[] = []
  await run(runner, { prefixCaching: false }, async composition => {
    for (const [i, sampling] of samplings.entries()) apart.push(...(await composition.run(aRequest(`choice-${i}`, prompt, [sampling], text))).choices)
  })
  const saved = await run(runner, { prefixCaching: false }, async composition => {
    t.strictSame((await composition.run(aRequest('choices', prompt, samplings, text))).choices, apart)
  })
  t.ok(saved.keys >= 2 * 256, `keys that choices share: ${saved.keys}`)
  t.ok(saved.groups > 0, 'attended together')
})

engineTest('in the default mode, too, everybody who shares a document is answered with the number asked for', fast, async (t, engine) => {
  const text = await openTextService(modelFolder('daybreak-mini'))
  t.teardown(() => text.close())
  const asked = await askers(text, askersOn(engine))
  const saved = await run(engine.runner, { prefixCaching: true }, async composition => {
    checkAnswers(t, text, asked, await together(composition, asked.map(({ request }) => request)))
  })
  t.equal(saved.keys, (askersOn(engine) - 2) * 256, 'keys that all but the first share')
  t.ok(saved.groups > 0, 'and attend together')
})
