import t from 'tap'
import { greedySampling, promptScores } from '../fakes/fake-model.ts'
import { Harness, promptOf } from './harness.ts'

const chunks = (harness: Harness): number[][] =>
  harness.batches.map(({ sequences }) => sequences.map(({ tokens }) => tokens?.length ?? 1))

for (const [numPromptTokens, expected] of [[15, [15]], [16, [16]], [17, [16, 1]], [33, [16, 16, 1]]] as const) {
  t.test(`a prompt of ${numPromptTokens} tokens under a budget of 16 takes chunks of ${expected.join(', ')}`, async t => {
    const harness = new Harness({ limits: { maxBatchedTokens: 16 } })
    const request = harness.add({ numPromptTokens, maxTokens: 1 })
    harness.drain()
    t.same(chunks(harness), expected.map(count => [count]))
    const sampling = harness.batches.map(({ sequences }) => sequences[0]?.sampling !== undefined)
    t.same(sampling, expected.map((_, i) => i === expected.length - 1), 'only the last chunk samples')
    t.same(harness.outputOf(request), harness.aloneOutputOf(request))
  })
}

t.test('a configured chunk is smaller than the budget, and others use the rest', async t => {
  const harness = new Harness({ limits: { maxBatchedTokens: 16 }, config: { maxPrefillChunk: 5 } })
  harness.add({ numPromptTokens: 12, maxTokens: 1 })
  harness.add({ numPromptTokens: 4, maxTokens: 1 })
  harness.drain()
  t.same(chunks(harness), [[5, 4], [5], [2]])
})

t.test('requests start by priority, lower first, then in order of arrival', async t => {
  const harness = new Harness({ limits: { maxBatchedTokens: 8 } })
  const requests = [1, 0, -1, 0].map(priority => harness.add({ numPromptTokens: 8, maxTokens: 1, priority }))
  harness.drain()
  const started = harness.events.flatMap(event => event.type === 'scheduled' ? [event.id] : [])
  t.same(started, [2, 1, 3, 0].map(i => requests[i]?.id))
})

t.test('a computed prefix is reused and reported, except its last token', async t => {
  const harness = new Harness()
  const promptTokens = promptOf(12, 900)
  harness.add({ promptTokens, maxTokens: 1 })
  harness.drain()
  const again = harness.add({ promptTokens, maxTokens: 3 })
  harness.drain()
  t.match(harness.events.find(event => event.type === 'scheduled' && event.id === again.id), { cachedTokens: 8 })
  t.same(harness.outputOf(again), harness.aloneOutputOf(again))
  t.equal(harness.scheduler.stats().promptTokensComputed, 12 + 4)
})

t.test('admission is by blocks: it waits until the prompt and a margin for the running ones fit', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 8 }, config: { watermark: 0.1 } })
  const first = harness.add({ numPromptTokens: 4, maxTokens: 3 })
  const exact = harness.add({ numPromptTokens: 20, maxTokens: 1 })
  harness.submit()
  t.equal(harness.scheduler.stats().numRunning, 1, 'one block is held; five, one watermark and two to grow into make nine')
  harness.drain()
  for (const request of [first, exact]) t.same(harness.outputOf(request), harness.aloneOutputOf(request))
  harness.add({ numPromptTokens: 4, maxTokens: 3 })
  const fitting = harness.add({ numPromptTokens: 16, maxTokens: 1 })
  harness.submit()
  t.equal(harness.scheduler.stats().numRunning, 2)
  harness.drain()
  t.same(harness.outputOf(fitting), harness.aloneOutputOf(fitting))
})

t.test('alone in the cache a request needs no margin, and nobody overtakes it', async t => {
  const harness = new Harness({ limits: { numKVBlocks: 8 } })
  const running = harness.add({ numPromptTokens: 8, maxTokens: 10 })
  harness.step()
  const large = harness.add({ numPromptTokens: 32, maxTokens: 1 })
  const small = harness.add({ numPromptTokens: 1, maxTokens: 1 })
  harness.drain()
  const finished = harness.events.flatMap(event => event.type === 'finish' ? [event.id] : [])
  t.same(finished, [running.id, large.id, small.id])
})

t.test('sequences wait for a state row when all are taken', async t => {
  const harness = new Harness({ limits: { maxSequences: 2 } })
  for (let i = 0; i < 5; i++) harness.add({ numPromptTokens: 2, maxTokens: 4 })
  harness.submit()
  t.match(harness.scheduler.stats(), { numRunning: 2, numWaiting: 3, waitingTokens: 6 })
  harness.drain()
  t.equal(harness.events.filter(({ type }) => type === 'finish').length, 5)
})

for (const [numPromptTokens, logitRows] of [[1, 4], [4, 4], [5, 4], [9, 4], [9, 1]] as const) {
  t.test(`a scored prompt of ${numPromptTokens} tokens goes through ${logitRows} logit rows and is scored once, before its first token`, async t => {
    const harness = new Harness({ limits: { maxLogitRows: logitRows } })
    const promptTokens = promptOf(numPromptTokens, 901)
    const first = harness.add({ promptTokens, maxTokens: 2 })
    harness.drain()
    const request = harness.add({ promptTokens, maxTokens: 2, promptLogprobs: 3 })
    harness.drain()
    t.same(harness.scoresOf(request), promptScores(harness.runner.limits, promptTokens, 3))
    t.same(harness.outputOf(request), harness.outputOf(first))
    const types = harness.events.filter(({ id }) => id === request.id).map(({ type }) => type)
    t.same(types, ['scheduled', 'prompt-scores', 'token', 'token', 'finish'])
    t.match(harness.events.find(event => event.type === 'scheduled' && event.id === request.id), { cachedTokens: 0 })
  })
}

t.test('a scored prompt shares a step with decodes, which keep their logit rows', async t => {
  const harness = new Harness({ limits: { maxLogitRows: 4 } })
  const decoding = harness.add({ numPromptTokens: 3, maxTokens: 12 })
  harness.step()
  const scored = harness.add({ numPromptTokens: 10, promptLogprobs: 0, maxTokens: 1 })
  harness.step()
  t.same(harness.batches.at(-1)?.sequences.map(({ scoreTargets }) => scoreTargets?.length), [undefined, 3])
  harness.drain()
  t.same(harness.scoresOf(scored), promptScores(harness.runner.limits, scored.promptTokens, 0))
  t.equal(harness.outputOf(decoding).length, 12)
})

t.test('with no tokens to generate, the prompt is computed, scored if asked, and ends with length', async t => {
  const harness = new Harness()
  const plain = harness.add({ numPromptTokens: 9, maxTokens: 0 })
  const scored = harness.add({ numPromptTokens: 9, maxTokens: 0, promptLogprobs: 1, numChoices: 2 })
  harness.drain()
  t.equal(harness.finishOf(plain), 'length')
  t.same([0, 1].map(choice => harness.finishOf(scored, choice)), ['length', 'length'])
  t.equal(harness.scoresOf(scored)?.length, 8)
  t.equal(harness.events.filter(({ type }) => type === 'token').length, 0)
  t.equal(harness.batches.length, 1)
})

t.test('the token history is on the first forward after every admission, and only under a penalty', async t => {
  for (const [sampling, carried] of [[{ repetitionPenalty: 1.2 }, true], [{ frequencyPenalty: 1 }, true], [{}, false]] as const) {
    const harness = new Harness({ limits: { maxBatchedTokens: 8 } })
    const request = harness.add({ numPromptTokens: 12, maxTokens: 3, sampling })
    harness.drain()
    const histories = harness.batches.map(({ sequences }) => sequences[0]?.history)
    t.same(histories[0], carried ? { promptTokens: request.promptTokens, outputTokens: [] } : undefined)
    t.ok(histories.slice(1).every(history => history === undefined))
    t.same(harness.outputOf(request), harness.aloneOutputOf(request))
  }
})

for (const numKnown of [1, 3, 5]) {
  t.test(`a request replayed behind ${numKnown} tokens goes on as if it had never stopped`, async t => {
    const sampling = { ...greedySampling, temperature: 0.8, seed: 7, presencePenalty: 1 }
    const before = new Harness()
    const original = before.add({ numPromptTokens: 6, maxTokens: 6, sampling })
    before.drain()
    const whole = before.outputOf(original)
    const after = new Harness({ limits: { maxBatchedTokens: 4, maxSequences: 2 } })
    const replayed = after.add({ promptTokens: original.promptTokens, maxTokens: 6, sampling, outputTokens: whole.slice(0, numKnown), promptLogprobs: 2 })
    after.drain()
    t.same(after.outputOf(replayed), whole.slice(numKnown), 'tokens already delivered are not repeated')
    t.equal(after.finishOf(replayed), 'length')
    t.equal(after.scoresOf(replayed), undefined, 'scores were delivered before the first token')
  })
}

t.test('a replayed choice that had ended already finishes at once', async t => {
  const harness = new Harness()
  const full = harness.add({ maxTokens: 2, outputTokens: [4, 5] })
  const stopped = harness.add({ maxTokens: 9, outputTokens: [4, 5], stopTokens: [5] })
  t.equal(harness.finishOf(full), 'length')
  t.equal(harness.finishOf(stopped), 'stop')
  t.equal(harness.submit(), undefined)
})
