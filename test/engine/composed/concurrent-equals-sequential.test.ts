import t from 'tap'
import type { Test } from 'tap'
import type { GenerationRequest } from '@daybreak/scheduler'
import { openTextService } from '../../../apps/server/src/text/index.ts'
import type { TextService } from '../../../apps/server/src/text/index.ts'
import { engineTest, modelFolder, openForTest } from '../runner/engine-under-test.ts'
import { Composition } from './composition.ts'
import type { CompositionOptions, Outcome } from './composition.ts'
import { canaryRequests } from './canary-requests.ts'
import type { CanaryRequest } from './canary-requests.ts'

/** 32 requests, one of which has three choices: all fit into one step. */
const MAX_SEQUENCES = 34
const SEED = 20
/** Small blocks: more of the boundaries that a wrong slot would show at. */
const BLOCK_SIZE = 8
/** The longest request takes most of these blocks; a dozen short ones begin in them together, and cannot all end in them. */
const FEW_BLOCKS = 40

const model = 'daybreak-mini'
const options = { dtype: 'auto', maxModelLen: 400, maxSequences: MAX_SEQUENCES, maxBatchedTokens: 256, kvCacheBytes: 64 << 20 } as const
const engine = await openForTest(model, { ...options, deterministic: true, blockSize: BLOCK_SIZE })
// Blocks of 16, which attention on tensor cores asks for. Opened before the first test begins: tap ends when it has none left.
const fast = await openForTest(model, { ...options, blockSize: 16 })
t.setTimeout(900_000)

engineTest(`32 requests give the same tokens and bits alone and together (seed ${SEED})`, engine, async (t, { runner }) => {
  const text = await openTextService(modelFolder(model))
  t.teardown(() => text.close())
  const canaries = await canaryRequests(text, SEED)
  const lengths = canaries.map(({ request }) => request.promptTokens.length)
  t.equal(canaries.length, 32)
  t.ok(Math.min(...lengths) <= 6 && Math.max(...lengths) >= 250, `prompts of ${Math.min(...lengths)} to ${Math.max(...lengths)} tokens`)

  const alone = new Map<string, Outcome>()
  await withComposition(t, runner, { prefixCaching: false }, async composition => {
    for (const { request } of canaries) alone.set(request.id, await composition.run(request))
    // Three: the choices of the one request that has more than one.
    t.equal(composition.widestStep, 3, 'nothing else was in any step')
  })
  checkAnswers(t, text, canaries, alone)

  await t.test('all at once, preempted again and again in a KV cache that is too small', async t => {
    await withComposition(t, runner, { prefixCaching: false, numBlocks: FEW_BLOCKS }, async composition => {
      compare(t, alone, await together(composition, canaries))
      const { numPreemptions } = composition.scheduler.stats()
      t.ok(numPreemptions >= 3, `${numPreemptions} preemptions`)
    })
  })

  await t.test('all in one step, prompts cut into chunks of 7, computed at first and then taken from the cache', async t => {
    await withComposition(t, runner, { prefixCaching: true, maxPrefillChunk: 7 }, async composition => {
      compare(t, alone, await together(composition, canaries))
      t.equal(composition.widestStep, MAX_SEQUENCES, 'sequences in one step')
      const { hits: inFirstRound } = composition.kvCache.stats
      compare(t, alone, await together(composition, canaries))
      const { hits } = composition.kvCache.stats
      t.ok(hits - inFirstRound > 500, `${hits - inFirstRound} tokens found in the second round`)
    })
  })

  await t.test('with all of that at once, among strangers who are aborted', async t => {
    await withComposition(t, runner, { prefixCaching: true, numBlocks: FEW_BLOCKS, maxPrefillChunk: 7, maxBatchedTokens: 40 }, async composition => {
      const strangers = canaries.slice(0, 6).map(({ request }): GenerationRequest => ({ ...request, id: `stranger-${request.id}`, maxTokens: 60, stopTokens: [] }))
      const left = strangers.map(request => composition.run(request))
      const outcomes = new Map<string, Outcome>()
      const first = together(composition, canaries.slice(0, 16), outcome => { if (outcome === 3) composition.abort(strangers[0]?.id ?? '') })
      for (const [id, outcome] of await first) outcomes.set(id, outcome)
      const second = together(composition, canaries.slice(16))
      for (const { id } of strangers) composition.abort(id)
      for (const [id, outcome] of await second) outcomes.set(id, outcome)
      await Promise.all(left)
      compare(t, alone, outcomes)
      const { numPreemptions, prefixCacheHits } = composition.scheduler.stats()
      t.ok(numPreemptions > 0 && prefixCacheHits > 0, `${numPreemptions} preemptions, ${prefixCacheHits} tokens from the cache`)
    })
  })
})

engineTest('in the default mode, too, every question is answered with its own number: all in one step, in chunks, and from the cache', fast, async (t, { runner }) => {
  const text = await openTextService(modelFolder(model))
  t.teardown(() => text.close())
  const canaries = await canaryRequests(text, SEED)
  await withComposition(t, runner, { prefixCaching: true, maxPrefillChunk: 23 }, async composition => {
    checkAnswers(t, text, canaries, await together(composition, canaries))
    t.equal(composition.widestStep, MAX_SEQUENCES, 'sequences in one step')
    t.ok(composition.kvCache.stats.hits > 0, `${composition.kvCache.stats.hits} tokens from the cache`)
  })
})

/** Runs `body`, then checks that nothing is held any more. */
async function withComposition (t: Test, runner: ConstructorParameters<typeof Composition>[0], options: CompositionOptions, body: (composition: Composition) => Promise<void>): Promise<void> {
  const composition = new Composition(runner, options)
  try {
    await body(composition)
    composition.checkInvariants()
    t.match(composition.scheduler.stats(), { numRunning: 0, numWaiting: 0, waitingTokens: 0, kvCacheUsage: 0 })
    t.equal(composition.kvCache.numFree, composition.kvCache.config.numBlocks, 'every block is free again')
  } finally {
    await composition[Symbol.asyncDispose]()
  }
}

/** Starts all of them before the first has a token. */
async function together (composition: Composition, canaries: readonly CanaryRequest[], onFinished: (count: number) => void = () => {}): Promise<Map<string, Outcome>> {
  let numFinished = 0
  const outcomes = await Promise.all(canaries.map(async ({ request }) => {
    const outcome = await composition.run(request)
    onFinished(++numFinished)
    return [request.id, outcome] as const
  }))
  return new Map(outcomes)
}

function compare (t: Test, expected: ReadonlyMap<string, Outcome>, actual: ReadonlyMap<string, Outcome>): void {
  const different = [...expected].filter(([id, outcome]) => JSON.stringify(actual.get(id)) !== JSON.stringify(outcome)).map(([id]) => id)
  t.strictSame(different, [], 'no token and no log-probability differs by a bit')
  t.equal(actual.size, expected.size)
  for (const id of different.slice(0, 3)) t.strictSame(actual.get(id), expected.get(id), id)
}

/** The model is good enough that every canary comes back: an answer from a neighbour's cache would be another number. */
function checkAnswers (t: Test, text: TextService, canaries: readonly CanaryRequest[], outcomes: ReadonlyMap<string, Outcome>): void {
  const given = canaries.filter(({ answer }) => answer !== undefined).map(({ request: { id }, answer }) => {
    const tokens = outcomes.get(id)?.choices[0]?.tokens ?? []
    return { id, expected: answer, given: text.decode(tokens, { skipSpecialTokens: true }) }
  })
  t.strictSame(given.filter(({ expected, given }) => expected !== given), [], 'every question is answered with its own number')
  const seen = new Set([...outcomes.values()].map(({ choices }) => JSON.stringify(choices[0]?.tokens)))
  t.equal(seen.size, canaries.length, 'no two requests have the same output')
}
