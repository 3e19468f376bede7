import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { readGreedyFixture, readPrompts, readTransformersRecording } from '../fixtures/read-fixtures.ts'
import type { RecordedLogits } from '../fixtures/read-fixtures.ts'
import { ReferenceLlama } from './llama.ts'
import { topLogprobs } from './logprobs.ts'
import { readLlamaModel } from './read-model.ts'

// transformers computes in float32: rounding of some hundred sums, and rotary angles off by up to position · 2⁻²⁴ radians.
const LOGIT_TOLERANCE = 2e-4
const fixtures = join(import.meta.dirname, '../fixtures')

for (const name of ['tiny-llama', 'tiny-llama-tied'] as const) {
  t.test(`${name} gives transformers' logits at every position, alone and in a ragged batch`, async t => {
    const recording = readTransformersRecording(name)
    const model = new ReferenceLlama(readLlamaModel(join(fixtures, name)))
    const prompts = readPrompts()[name]
    t.same(recording.logits.map(({ prompt }) => prompt), [prompts.single, ...prompts.batch], 'recorded from these prompts')
    for (const entry of recording.logits) {
      t.equal(entry.numRows, entry.prompt.length, 'all positions are recorded')
      compareLogits(t, model, entry)
    }
  })

  t.test(`${name} continues greedily as transformers does`, async t => {
    const model = new ReferenceLlama(readLlamaModel(join(fixtures, name)))
    const { greedy } = readTransformersRecording(name)
    t.equal(greedy.length, 1)
    for (const { prompt, tokens } of greedy) t.same(model.greedy(prompt, tokens.length).tokens, tokens)
  })
}

t.test('daybreak-mini gives transformers\' logits after prompts of 4 to 600 tokens', async t => {
  const model = new ReferenceLlama(readLlamaModel(join(fixtures, '../../models/daybreak-mini')))
  const recording = readTransformersRecording('daybreak-mini')
  t.same(recording.logits.map(({ prompt }) => prompt), readPrompts()['daybreak-mini'].logits.map(({ tokens }) => tokens))
  for (const entry of recording.logits) compareLogits(t, model, entry)
})

t.test('the greedy fixture holds what transformers generates, to the last token', async t => {
  const recorded = readTransformersRecording('daybreak-mini').greedy.map(({ name, prompt, tokens }) => ({ name, prompt, tokens }))
  t.same(recorded, readGreedyFixture().cases.map(({ name, prompt, tokens }) => ({ name, prompt, tokens })))
})

function compareLogits (t: Test, model: ReferenceLlama, { name, prompt, rows, numRows, topTokens }: RecordedLogits): void {
  const hidden = model.forward(model.newCache(), prompt)
  const logits = model.logits(hidden.slice(-numRows * model.config.hiddenSize))
  t.equal(logits.length, rows.length, `${name}: as many logits`)
  const worst = logits.reduce((worst, logit, i) => Math.max(worst, Math.abs(logit - (rows[i] ?? NaN))), 0)
  t.ok(worst <= LOGIT_TOLERANCE, `${name}: largest difference ${worst.toExponential(2)}`)
  const top = topLogprobs(logits.slice(-model.config.vocabSize), topTokens.length)
  t.same(top.map(({ token }) => token), topTokens, `${name}: the same most likely tokens in the same order`)
}
