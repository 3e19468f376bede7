import type { StorageType } from '../../../packages/engine/src/engine.ts'
import { readTransformersRecording } from '../../fixtures/read-fixtures.ts'
import { logSoftmax, topLogprobs } from '../../reference/logprobs.ts'
import { engineTest, openForTest } from './engine-under-test.ts'
import type { ModelName } from './engine-under-test.ts'
import { SequenceDriver, greedy } from './sequence-driver.ts'

interface Case { readonly model: ModelName, readonly dtype: StorageType, readonly tolerance: number }

// f32: sums in another order and f32 rotary angles. f16: daybreak-mini's weights are f16 already, so only keys and values are rounded,
// by 2⁻¹¹ each, averaged by the softmax.
const cases: readonly Case[] = [
  { model: 'tiny-llama', dtype: 'f32', tolerance: 2e-3 },
  { model: 'tiny-llama-tied', dtype: 'f32', tolerance: 2e-3 },
  { model: 'daybreak-mini', dtype: 'f32', tolerance: 2e-3 },
  { model: 'daybreak-mini', dtype: 'f16', tolerance: 2e-2 }
]

const opened: Array<{ readonly given: Case, readonly engine: Awaited<ReturnType<typeof openForTest>> }> = []
for (const given of cases) opened.push({ given, engine: await openForTest(given.model, { dtype: given.dtype, maxModelLen: given.model === 'daybreak-mini' ? 1024 : 64, maxSequences: 4, kvCacheBytes: 32 << 20 }) })

for (const { given: { model, dtype, tolerance }, engine } of opened) {
  engineTest(`${model} in ${dtype} gives transformers' log-probabilities, its five most likely tokens in order`, engine, async (t, { runner }) => {
    const { logits, vocabSize } = readTransformersRecording(model)
    // One at a time: every recorded prompt fits the engine alone.
    const driver = new SequenceDriver(runner)
    for (const { name, prompt, rows, numRows } of logits) {
      const request = { name, prompt, maxNewTokens: 1, sampling: { ...greedy, numLogprobs: 20 }, ...numRows > 1 ? { promptScores: 20 } : {} }
      const result = (await driver.run([request], { chunk: 100, stagger: 0, inFlight: 1, seed: 3 })).get(name)
      const reported = [...result?.scored ?? [], ...result?.sampled ?? []].slice(-numRows)
      t.equal(reported.length, numRows, `${name}: a row for each recorded one`)
      let worst = 0
      for (const [i, { topLogprobs: top = [] }] of reported.entries()) {
        const row = Float64Array.from(rows.subarray(i * vocabSize, (i + 1) * vocabSize))
        const expected = logSoftmax(row)
        for (const { token, logprob } of top) worst = Math.max(worst, Math.abs(logprob - (expected[token] ?? NaN)))
        const best = topLogprobs(row, 6)
        for (let rank = 0; rank < 5; rank++) {
          const margins = [best[rank - 1], best[rank + 1]].map(other => Math.abs((other?.logprob ?? Infinity) - (best[rank]?.logprob ?? NaN)))
          if (Math.min(...margins) > 2 * tolerance && top[rank]?.token !== best[rank]?.token) t.fail(`${name}: another token at rank ${rank} of row ${i}`)
        }
      }
      t.ok(worst <= tolerance, `${name}: largest difference ${worst.toExponential(2)}`)
    }
  })
}
