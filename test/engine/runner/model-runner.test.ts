import { blockId, sequenceId } from '@daybreak/kvcache'
import type { ForwardSequence, KVBlockMove } from '@daybreak/engine/contract'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { engineTest, openForTest } from './engine-under-test.ts'
import { SequenceDriver, greedy } from './sequence-driver.ts'
import type { DrivenRequest, DrivenResult, Schedule } from './sequence-driver.ts'

const SEED = 20260710
const VOCAB = 300
const gpu = await openForTest('tiny-llama')

function somePrompt (random: SeededRandom, length: number): number[] {
  return Array.from({ length }, () => random.integer(VOCAB))
}

/** Ten requests of mixed lengths and ways to sample; their prompts cross blocks of 16 and a split of the keys. */
function someRequests (seed: number): DrivenRequest[] {
  const random = new SeededRandom(seed)
  return [1, 7, 15, 16, 17, 40, 100, 126, 129, 150].map((length, i) => ({
    name: `request ${i}`,
    prompt: somePrompt(random, length),
    maxNewTokens: 6 + i % 4,
    ...i % 3 === 0 ? { promptScores: 2 } : {},
    sampling: {
      ...greedy,
      numLogprobs: 5,
      seed: 1000 + i,
      ...i % 2 === 1 ? { temperature: 1.2, topP: 0.9, topK: 50, minP: 0.01 } : {},
      ...i % 5 === 0 ? { presencePenalty: 0.5, frequencyPenalty: 0.25, repetitionPenalty: 1.1, logitBias: [[5, 2], [17, -3]] as const } : {}
    }
  }))
}

const alone: Schedule = { chunk: 512, stagger: 0, inFlight: 1, seed: 1 }

async function eachAlone (driver: SequenceDriver, requests: readonly DrivenRequest[]): Promise<ReadonlyMap<string, DrivenResult>> {
  const results = new Map<string, DrivenResult>()
  for (const request of requests) for (const [name, result] of await driver.run([request], alone)) results.set(name, result)
  return results
}

engineTest('tokens, log-probabilities and prompt scores are the same bits alone, together, in chunks, staggered and in flight', gpu, async (t, { runner }) => {
  t.comment(`seed ${SEED}`)
  const driver = new SequenceDriver(runner)
  const requests = someRequests(SEED)
  const expected = await eachAlone(driver, requests)
  const schedules: ReadonlyArray<readonly [string, Schedule]> = [
    ['together', { chunk: 512, stagger: 0, inFlight: 1, seed: 2 }],
    ['in chunks of 7', { chunk: 7, stagger: 0, inFlight: 1, seed: 3 }],
    ['interleaved', { chunk: 33, stagger: 2, inFlight: 1, seed: 4 }],
    ['two steps in flight', { chunk: 512, stagger: 1, inFlight: 2, seed: 5 }],
    ['in chunks of one token, three steps in flight', { chunk: 1, stagger: 0, inFlight: 3, seed: 6 }]
  ]
  for (const [how, schedule] of schedules) {
    const results = await driver.run(requests, schedule)
    for (const { name } of requests) t.strictSame(results.get(name), expected.get(name), `${name} ${how}`)
  }
})

engineTest('a decode that reads its token on the device equals one that is told it', gpu, async (t, { runner }) => {
  const driver = new SequenceDriver(runner)
  const requests = someRequests(SEED + 1).slice(0, 4).map(request => ({ ...request, maxNewTokens: 20 }))
  const told = await driver.run(requests, { chunk: 64, stagger: 0, inFlight: 1, seed: 1 })
  const read = await driver.run(requests, { chunk: 64, stagger: 0, inFlight: 2, seed: 1 })
  t.strictSame(read, told)
  t.equal(told.get('request 3')?.sampled.length, 20)
})

function aSequence (change: Partial<ForwardSequence>): ForwardSequence {
  return { id: sequenceId('s'), stateRow: 0, tokens: [1], startPosition: 0, blockTable: [blockId(0)], sampling: undefined, history: undefined, scoreTargets: undefined, numScoreLogprobs: undefined, ...change }
}

const copy = (from: number, to: number): KVBlockMove => ({ from: blockId(from), to: blockId(to), direction: 'copy-on-write' })

engineTest('a moved block answers as the one it was copied from, also when the original is overwritten in the same step', gpu, async (t, { runner }) => {
  t.comment(`seed ${SEED}`)
  const driver = new SequenceDriver(runner)
  const random = new SeededRandom(SEED)
  const prompt = somePrompt(random, 20)
  const other = somePrompt(random, 20)
  const table = (...ids: number[]): ForwardSequence['blockTable'] => ids.map(blockId)
  const sampling = { ...greedy, numLogprobs: 20 }
  await driver.execute([aSequence({ tokens: prompt, blockTable: table(3, 5) })])
  const expected = await driver.execute([aSequence({ tokens: [9], startPosition: 20, blockTable: table(3, 5), sampling })])
  // The copies are done first: the other sequence takes the old blocks over in the very same step.
  const moved = await driver.execute([
    aSequence({ id: sequenceId('other'), stateRow: 1, tokens: other, blockTable: table(3, 5) }),
    aSequence({ tokens: [9], startPosition: 20, blockTable: table(8, 2), sampling })
  ], [copy(3, 8), copy(5, 2)])
  t.strictSame(moved.sampled, expected.sampled)
  const overwritten = await driver.execute([aSequence({ tokens: [9], startPosition: 20, blockTable: table(3, 5), sampling })])
  t.notSame(overwritten.sampled, expected.sampled, 'the old blocks hold the other sequence')
})

engineTest('a batch that breaks the contract is refused, and the device goes on as if it had not been', gpu, async (t, { runner }) => {
  const driver = new SequenceDriver(runner)
  const requests = someRequests(SEED + 2).slice(0, 2)
  const expected = await driver.run(requests, alone)
  const { maxSequences, maxModelLen, numKVBlocks, vocabSize, maxBatchedTokens } = runner.limits
  const breaches: ReadonlyArray<readonly [string, Partial<ForwardSequence>]> = [
    ['no token', { tokens: [] }],
    ['a token out of range', { tokens: [vocabSize] }],
    ['a row out of range', { stateRow: maxSequences }],
    ['a block out of range', { blockTable: [blockId(numKVBlocks)] }],
    ['too few blocks', { startPosition: 16 }],
    ['too long a context', { startPosition: maxModelLen, blockTable: new Array(1 + maxModelLen / 16).fill(blockId(0)) }],
    ['too many tokens', { tokens: new Array(maxBatchedTokens + 1).fill(1), blockTable: new Array(1 + maxBatchedTokens / 16).fill(blockId(0)) }],
    ['too many scores', { scoreTargets: [1, 1], numScoreLogprobs: 0 }],
    ['too many logprobs', { sampling: { ...greedy, numLogprobs: 21 } }],
    ['a biased token out of range', { sampling: { ...greedy, logitBias: [[vocabSize, 1]] } }]
  ]
  for (const [name, change] of breaches) {
    await t.rejects(driver.execute([aSequence(change)]), { name: 'InvalidBatchError', code: 'ENGINE_INVALID_BATCH' }, name)
  }
  await t.rejects(driver.execute([aSequence({})], [copy(0, numKVBlocks)]), { code: 'ENGINE_INVALID_BATCH' }, 'a copy out of range')
  t.strictSame(await driver.run(requests, alone), expected)
})

engineTest('one batch too many in flight is refused, and those under way come back', gpu, async (t, { runner }) => {
  const driver = new SequenceDriver(runner)
  const step = () => driver.execute([aSequence({ sampling: greedy })])
  const outcomes = await Promise.allSettled(Array.from({ length: 6 }, step))
  const refused = outcomes.filter(outcome => outcome.status === 'rejected')
  t.ok(refused.length > 0 && refused.length <= 4, 'the intended depth of two is always taken')
  for (const { reason } of refused) t.match(reason, { code: 'ENGINE_INVALID_BATCH' })
  t.equal((await step()).sampled.length, 1)
})

engineTest('a step with nothing to sample answers with nothing, and times itself', gpu, async (t, { runner }) => {
  const result = await new SequenceDriver(runner).execute([aSequence({ tokens: [1, 2, 3] })])
  t.strictSame([result.sampled, [...result.scored]], [[], []])
  t.ok(result.deviceSeconds > 0 && result.hostSeconds > 0)
})

engineTest('of two steps in flight that decode alike the first is timed, and the second counts as long', gpu, async (t, { runner }) => {
  const driver = new SequenceDriver(runner)
  const step = () => driver.execute([aSequence({ tokens: [1], sampling: greedy })])
  await driver.execute([aSequence({ tokens: [1, 2, 3] })])
  const [first, second] = await Promise.all([step(), step()])
  // Host time, or what an earlier step left where timestamps would be, would not be the same to the bit.
  t.ok(first.deviceSeconds > 0)
  t.equal(second.deviceSeconds, first.deviceSeconds)
})

engineTest('penalties count what a readmitted sequence generated before', gpu, async (t, { runner }) => {
  t.comment(`seed ${SEED}`)
  const driver = new SequenceDriver(runner)
  const prompt = somePrompt(new SeededRandom(SEED), 12)
  // Four tokens far above the rest: the same one for ever, but for the penalties.
  const logitBias = [[5, 20], [6, 20], [7, 20], [8, 20]] as const
  const sampling = { ...greedy, logitBias, frequencyPenalty: 1.5, presencePenalty: 0.5, repetitionPenalty: 1.3 }
  const run = await driver.run([{ name: 'whole', prompt, maxNewTokens: 12, sampling }], { chunk: 64, stagger: 0, inFlight: 2, seed: 9 })
  const tokens = run.get('whole')?.sampled.map(({ token }) => token) ?? []
  const outputTokens = tokens.slice(0, 7)
  const resumed = await driver.execute([aSequence({
    stateRow: 3, tokens: [...prompt, ...outputTokens], blockTable: [4, 9].map(blockId), sampling, history: { promptTokens: prompt, outputTokens }
  })])
  const next = await driver.execute([aSequence({ stateRow: 3, tokens: undefined, startPosition: 19, blockTable: [4, 9].map(blockId), sampling })])
  t.strictSame([resumed, next].map(({ sampled }) => sampled[0]?.token), tokens.slice(7, 9))
  const free = await driver.run([{ name: 'free', prompt, maxNewTokens: 12, sampling: { ...greedy, logitBias } }], alone)
  t.notSame(free.get('free')?.sampled.map(({ token }) => token), tokens, 'the penalties change the text')
})
