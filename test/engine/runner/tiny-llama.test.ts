import { sequenceId } from '@daybreak/kvcache'
import type { EngineDebugOptions } from '@daybreak/engine'
import { ReferenceLlama } from '../../reference/llama.ts'
import { logSoftmax, topLogprobs } from '../../reference/logprobs.ts'
import { readLlamaModel } from '../../reference/read-model.ts'
import { readPrompts } from '../../fixtures/read-fixtures.ts'
import { SequenceDriver, greedy } from './sequence-driver.ts'
import { engineTest, modelFolder, openForTest } from './engine-under-test.ts'

// f32 sums of some hundred products through three layers, and rotary angles off by position · 2⁻²⁴: some 1e-5 in practice.
const TOLERANCE = 2e-3
interface Opening { readonly name: 'tiny-llama' | 'tiny-llama-tied', readonly kind: string, readonly options: { readonly debug: boolean }, readonly debug: EngineDebugOptions }
const schedule = { chunk: 16, stagger: 0, inFlight: 1, seed: 7 }
const plain = { options: { debug: false }, debug: {} }
// Checks every command, and has no subgroups and bindings so small that weights are split over two buffers.
const bare: Omit<Opening, 'name' | 'kind'> = { options: { debug: true }, debug: { without: ['subgroups'], maxBindingBytes: 65_536 } }
const openings: readonly Opening[] = [
  { name: 'tiny-llama', kind: 'as the adapter is', ...plain },
  { name: 'tiny-llama-tied', kind: 'as the adapter is', ...plain },
  { name: 'tiny-llama', kind: 'in debug profile without subgroups, weights split over buffers', ...bare }
]
const opened: Array<{ readonly opening: Opening, readonly engine: Awaited<ReturnType<typeof openForTest>> }> = []
for (const opening of openings) {
  opened.push({ opening, engine: await openForTest(opening.name, { kvCacheBytes: undefined, maxModelLen: 64, maxSequences: 4, ...opening.options }, opening.debug) })
}

for (const { opening: { name, kind }, engine } of opened) {
  const prompts = readPrompts()[name]
  const requests = [prompts.single, ...prompts.batch].map((prompt, i) => ({ name: `prompt ${i}`, prompt, maxNewTokens: 1, sampling: { ...greedy, numLogprobs: 20 }, promptScores: 20 }))
  engineTest(`${name} gives the reference's log-probabilities at every position, ${kind}`, engine, async (t, { runner }) => {
    const results = await new SequenceDriver(runner).run(requests, schedule)
    const model = new ReferenceLlama(readLlamaModel(modelFolder(name)))
    const { vocabSize } = model.config
    for (const { name, prompt } of requests) {
      const logits = model.logits(model.forward(model.newCache(), prompt))
      const scored = results.get(name)?.scored ?? []
      const sampled = results.get(name)?.sampled[0]
      t.equal(scored.length, prompt.length - 1, `${name}: every token but the first is scored`)
      let worst = 0
      const compare = (row: Float64Array, reported: ReadonlyArray<{ readonly token: number, readonly logprob: number }>): void => {
        const expected = logSoftmax(row)
        for (const { token, logprob } of reported) worst = Math.max(worst, Math.abs(logprob - (expected[token] ?? NaN)))
      }
      for (const [i, score] of scored.entries()) {
        const row = logits.slice(i * vocabSize, (i + 1) * vocabSize)
        compare(row, [score, ...score.topLogprobs])
        if (score.token !== prompt[i + 1] || score.topLogprobs.length !== 20) t.fail(`${name}: score ${i} is of another token`)
        const top = topLogprobs(row, 5).map(({ token }) => token)
        if (score.topLogprobs.slice(0, 5).some(({ token }, rank) => token !== top[rank])) t.fail(`${name}: other top tokens at ${i}`)
      }
      const last = logits.slice(-vocabSize)
      compare(last, [...sampled === undefined ? [] : [sampled], ...sampled?.topLogprobs ?? []])
      t.ok(worst <= TOLERANCE, `${name}: largest difference ${worst.toExponential(2)}`)
      t.equal(sampled?.token, topLogprobs(last, 1)[0]?.token, `${name}: the greedy token`)
      t.same(sampled?.topLogprobs?.slice(0, 5).map(({ token }) => token), topLogprobs(last, 5).map(({ token }) => token), `${name}: top five in order`)
      t.equal(sampled?.id, sequenceId(name), `${name}: its own id`)
    }
  })
}
