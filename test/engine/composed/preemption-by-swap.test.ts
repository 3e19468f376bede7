import t from 'tap'
import type { GenerationRequest } from '@daybreak/scheduler'
import { openTextService } from '../../../apps/server/src/text/index.ts'
import { engineTest, modelFolder, openForTest } from '../runner/engine-under-test.ts'
import { Composition } from './composition.ts'
import type { Outcome } from './composition.ts'
import { canaryRequests } from './canary-requests.ts'

const SEED = 27
const BLOCK_SIZE = 8
/** A dozen short requests begin in these together, and cannot all end in them. */
const FEW_BLOCKS = 40

const model = 'daybreak-mini'
const engine = await openForTest(model, {
  dtype: 'auto', maxModelLen: 400, maxSequences: 34, maxBatchedTokens: 256, kvCacheBytes: 64 << 20, deterministic: true, blockSize: BLOCK_SIZE, swapSpaceBytes: 64 << 20
})
t.setTimeout(900_000)

engineTest(`requests preempted again and again give the bits they give alone, though nothing is computed twice (seed ${SEED})`, engine, async (t, { runner }) => {
  const text = await openTextService(modelFolder(model))
  t.teardown(() => text.close())
  // Those that outgrow the cache together, one with several choices, and those that ask about the same document; some with penalties.
  const canaries = await canaryRequests(text, SEED)
  const requests = [...canaries.slice(0, 15), ...canaries.slice(-6)].map(({ request }, i): GenerationRequest => i % 4 !== 0 ? request : withPenalty(request))
  const alone = new Map<string, Outcome>()
  const undisturbed = new Composition(runner, { prefixCaching: false })
  for (const request of requests) alone.set(request.id, await undisturbed.run(request))
  await undisturbed[Symbol.asyncDispose]()

  for (const prefixCaching of [false, true]) {
    const composition = new Composition(runner, { prefixCaching, numBlocks: FEW_BLOCKS, preemption: 'swap' })
    const outcomes = await Promise.all(requests.map(async request => await composition.run(request)))
    for (const [i, request] of requests.entries()) t.strictSame(outcomes[i], alone.get(request.id), request.id)
    composition.checkInvariants()
    const { numPreemptions, swappedOutBlocks, swappedInBlocks, promptTokensComputed, prefixCacheHits } = composition.scheduler.stats()
    t.ok(numPreemptions >= 3 && swappedOutBlocks > 0 && swappedInBlocks > 0, `${numPreemptions} preemptions, ${swappedOutBlocks} blocks out, ${swappedInBlocks} back`)
    const promptTokens = requests.reduce((sum, { promptTokens }) => sum + promptTokens.length, 0)
    if (prefixCaching) t.ok(prefixCacheHits > 0, `${prefixCacheHits} tokens from the prefix cache`)
    else t.ok(promptTokensComputed < promptTokens + 20, `${promptTokensComputed} prompt tokens computed of ${promptTokens}`)
    t.equal(composition.kvCache.numFree, FEW_BLOCKS, 'every block is free again')
    t.match(composition.kvCache.stats, { numHostSlotsUsed: 0 }, 'and every host slot')
    await composition[Symbol.asyncDispose]()
  }
})

function withPenalty (request: GenerationRequest): GenerationRequest {
  return { ...request, choices: request.choices.map(choice => ({ ...choice, sampling: { ...choice.sampling, frequencyPenalty: 0.4, repetitionPenalty: 1.1 } })) }
}
