import t from 'tap'
import type { Test } from 'tap'
import type { GenerationRequest } from '@daybreak/scheduler'
import { promptScores } from '../fakes/fake-model.ts'
import { Harness } from './harness.ts'

function sameAsAlone (t: Test, harness: Harness, request: GenerationRequest, choices: readonly number[]): void {
  for (const choice of choices) t.same(harness.outputOf(request, choice), harness.aloneOutputOf(request, choice), `choice ${choice}`)
}

for (const prefixCaching of [true, false]) {
  for (const numPromptTokens of [1, 4, 5, 8, 9]) {
    t.test(`three choices of ${numPromptTokens} prompt tokens share its blocks, prefix caching ${prefixCaching ? 'on' : 'off'}`, async t => {
      const harness = new Harness({ prefixCaching })
      const request = harness.add({ numPromptTokens, numChoices: 3, maxTokens: 7 })
      t.equal(harness.submit()?.sequences.length, 1, 'the first choice computes the prompt for all')
      const forked = harness.submit()
      t.same(forked?.sequences.map(({ tokens }) => tokens?.length), [undefined, 1, 1], 'the others only its last token')
      const numShared = Math.floor((numPromptTokens - 1) / 4)
      const [first, ...others] = forked?.sequences.map(({ blockTable }) => blockTable) ?? []
      for (const table of others) {
        t.same(table.slice(0, numShared), first?.slice(0, numShared))
        t.not(table[numShared], first?.[numShared])
      }
      t.equal(forked?.moves.length, (numPromptTokens - 1) % 4 === 0 ? 0 : 2)
      harness.drain()
      sameAsAlone(t, harness, request, [0, 1, 2])
      t.equal(harness.scheduler.stats().promptTokensComputed, numPromptTokens + 2)
      t.equal(harness.kvCache.stats.numUsed, 0)
    })

    t.test(`the others compute ${numPromptTokens} prompt tokens when the first has gone, prefix caching ${prefixCaching ? 'on' : 'off'}`, async t => {
      const harness = new Harness({ prefixCaching, limits: { maxBatchedTokens: 3, maxSequences: 3 } })
      const request = harness.add({ numPromptTokens, numChoices: 3, maxTokens: 5 })
      harness.submit()
      harness.abort(request, 0)
      harness.drain()
      t.equal(harness.finishOf(request, 0), 'abort')
      sameAsAlone(t, harness, request, [1, 2])
    })
  }
}

t.test('choices that share a prompt survive preemption of one another', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 10 }, prefixCaching: false })
  const request = harness.add({ numPromptTokens: 10, numChoices: 4, maxTokens: 24 })
  harness.drain()
  sameAsAlone(t, harness, request, [0, 1, 2, 3])
  t.ok(harness.scheduler.stats().numPreemptions > 0)
})

t.test('a cached prefix longer than the prompt is taken instead of a fork', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 12 } })
  const request = harness.add({ numPromptTokens: 6, numChoices: 2, maxTokens: 30 })
  harness.drain()
  sameAsAlone(t, harness, request, [0, 1])
  t.ok(harness.scheduler.stats().numPreemptions > 0)
  t.ok(harness.scheduler.stats().prefixCacheHits > 0)
})

t.test('a scored prompt is scored by whichever choice computes it, and once', async t => {
  for (const abortAfter of [1, 2, 3]) {
    const harness = new Harness({ limits: { maxBatchedTokens: 4, maxSequences: 4, maxLogitRows: 4 } })
    const request = harness.add({ numPromptTokens: 10, numChoices: 2, maxTokens: 3, promptLogprobs: 2 })
    for (let i = 0; i < abortAfter; i++) harness.submit()
    harness.abort(request, 0)
    harness.drain()
    t.same(harness.scoresOf(request), promptScores(harness.runner.limits, request.promptTokens, 2), `aborted after ${abortAfter} chunks`)
    sameAsAlone(t, harness, request, [1])
    const types = harness.events.map(({ type }) => type)
    t.ok(types.indexOf('prompt-scores') < types.indexOf('token'))
  }
})

t.test('replayed choices of one request each go on where they were', async t => {
  const before = new Harness()
  const original = before.add({ numPromptTokens: 6, numChoices: 2, maxTokens: 8 })
  before.drain()
  const known = [before.outputOf(original, 0).slice(0, 5), before.outputOf(original, 1).slice(0, 2)]
  const after = new Harness()
  const choices = original.choices.map(({ sampling }, choice) => ({ sampling, outputTokens: known[choice] ?? [] }))
  after.scheduler.add({ ...original, choices })
  after.drain()
  for (const choice of [0, 1]) {
    t.same([...known[choice] ?? [], ...after.outputOf(original, choice)], before.outputOf(original, choice))
  }
})
