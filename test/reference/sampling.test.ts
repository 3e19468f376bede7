import type { SamplingParams } from '@daybreak/engine/contract'
import t from 'tap'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { chiSquare } from './chi-square.ts'
import { drawToken, keptTokens, tokenDistribution } from './sampling.ts'

const PLAIN: SamplingParams = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  logitBias: [],
  numLogprobs: undefined
}
const NO_HISTORY = { promptTokens: [], outputTokens: [] }
const logOf = (...probabilities: number[]) => Float64Array.from(probabilities, Math.log)
const maskOf = (logits: Float64Array, params: Partial<SamplingParams>) => [...keptTokens(logits, { ...PLAIN, ...params })]

t.test('greedy keeps the lowest id among the largest logits', async t => {
  const { kept, probabilities } = tokenDistribution(Float64Array.of(1, 5, 5, 2), { ...PLAIN, temperature: 0 }, NO_HISTORY)
  t.same([...kept], [0, 1, 0, 0])
  t.equal(drawToken(probabilities, 0.99), 1)
})

t.test('bias comes before penalties, and penalties before temperature', async t => {
  const params = {
    ...PLAIN,
    temperature: 0.5,
    repetitionPenalty: 2,
    frequencyPenalty: 0.25,
    presencePenalty: 1,
    logitBias: [[1, 3], [2, -4]] as const
  }
  const history = { promptTokens: [0, 2], outputTokens: [1, 1, 3] }
  const { adjusted } = tokenDistribution(Float64Array.of(4, 1, 2, -1, 6), params, history)
  // Token 0, prompt only: 4/2. Token 1, output twice: (1 + 3)/2 - 2·0.25 - 1. Token 2, prompt, below 0 by its bias: (2 - 4)·2.
  // Token 3, output once: -1·2 - 0.25 - 1. Token 4: untouched.
  t.same([...adjusted], [2, 0.5, -4, -3.25, 6].map(logit => logit / 0.5))
})

t.test('top-k keeps k tokens and whatever ties with the last of them', async t => {
  const logits = Float64Array.of(1, 4, 2, 3, 2)
  t.same(maskOf(logits, { topK: 1 }), [0, 1, 0, 0, 0])
  t.same(maskOf(logits, { topK: 2 }), [0, 1, 0, 1, 0])
  t.same(maskOf(logits, { topK: 3 }), [0, 1, 1, 1, 1])
  t.same(maskOf(logits, { topK: 99 }), [1, 1, 1, 1, 1])
})

t.test('top-p keeps the smallest set that reaches p, and never nothing', async t => {
  const logits = logOf(0.125, 0.5, 0.25, 0.125)
  t.same(maskOf(logits, { topP: 1e-9 }), [0, 1, 0, 0])
  t.same(maskOf(logits, { topP: 0.49 }), [0, 1, 0, 0])
  t.same(maskOf(logits, { topP: 0.51 }), [0, 1, 1, 0])
  t.same(maskOf(logits, { topP: 0.76 }), [1, 1, 1, 1])
})

t.test('min-p drops what is less likely than its share of the most likely', async t => {
  const logits = logOf(0.1, 0.5, 0.3, 0.1)
  t.same(maskOf(logits, { minP: 0.19 }), [1, 1, 1, 1])
  t.same(maskOf(logits, { minP: 0.21 }), [0, 1, 1, 0])
  t.same(maskOf(logits, { minP: 1 }), [0, 1, 0, 0])
})

t.test('top-p counts what min-p and top-k have left', async t => {
  const logits = logOf(0.4, 0.3, 0.2, 0.1)
  t.same(maskOf(logits, { topP: 0.65 }), [1, 1, 0, 0])
  t.same(maskOf(logits, { topP: 0.55, topK: 2 }), [1, 0, 0, 0], '0.4 of the 0.7 left is already 0.57')
  t.same(maskOf(logits, { topP: 0.55, minP: 0.7 }), [1, 0, 0, 0])
})

t.test('a draw walks the cumulative distribution in order of id', async t => {
  const probabilities = Float64Array.of(0.25, 0, 0.5, 0.25)
  t.same([0, 0.2499, 0.25, 0.7499, 0.75, 0.9999].map(u => drawToken(probabilities, u)), [0, 0, 2, 2, 3, 3])
})

t.test('draws follow the distribution by chi-square, and a wrong distribution is found out', async t => {
  const random = new SeededRandom(4)
  const params = { ...PLAIN, temperature: 0.8, topK: 40, topP: 0.95 }
  const { probabilities } = tokenDistribution(random.normals(200, 2), params, NO_HISTORY)
  const counts = new Uint32Array(200)
  for (let i = 0; i < 20000; i++) {
    const token = drawToken(probabilities, random.uniform())
    counts[token] = (counts[token] ?? 0) + 1
  }
  const fit = chiSquare(counts, probabilities)
  t.ok(fit.statistic < fit.limit, `${fit.statistic} < ${fit.limit} at ${fit.degreesOfFreedom} degrees`)
  const flattened = probabilities.map(Math.sqrt)
  const sum = flattened.reduce((a, b) => a + b)
  const misfit = chiSquare(counts, flattened.map(value => value / sum))
  t.ok(misfit.statistic > misfit.limit)
  t.equal(chiSquare([1, 99], Float64Array.of(0, 1)).statistic, Infinity, 'an impossible token was drawn')
})
