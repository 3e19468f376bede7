import type { SamplingParams } from '@daybreak/engine/contract'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { chiSquare } from '../../reference/chi-square.ts'
import { stored } from '../../reference/float16.ts'
import { logSoftmax, topLogprobs } from '../../reference/logprobs.ts'
import { tokenDistribution } from '../../reference/sampling.ts'
import { assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countsOf, greedy, noHistory, recordOf, sampleRows, tokensOf, untouched } from './sample-rows.ts'
import type { Row } from './sample-rows.ts'

const SEED = 20260706
// Vocabularies around the threads' number, around the tokens of a part, and one with uneven shares of five parts.
const VOCABS = [1, 31, 32, 33, 63, 64, 65, 300]
const withSubgroups = await GpuHarness.open()
const withoutSubgroups = await GpuHarness.open({ without: ['subgroups'] })

const someLogits = (random: SeededRandom, vocab: number): Float64Array => stored(random.normals(vocab, 3), 'f32')

for (const [subgroups, gpu, vocabs] of [['with', withSubgroups, VOCABS], ['without', withoutSubgroups, [31, 33, 300]]] as const) {
  gpuTest(`greedy takes the largest logit, the lowest id of a tie, in vocabularies around the threads' number and a part's size, ${subgroups} subgroups`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const vocab of vocabs) {
      const rows = Array.from({ length: 6 }, () => ({ logits: someLogits(random, vocab), record: {} }))
      // Ties at the first id, across threads and at the last id; then all equal, and all negative.
      const tie = (ids: readonly number[]): Row => ({ logits: someLogits(random, vocab).map((x, id) => ids.includes(id) ? 50 : x), record: {} })
      rows.push(tie([0, vocab - 1]), tie([Math.floor(vocab / 2), vocab - 1]), tie([vocab - 1]), { logits: new Float64Array(vocab), record: {} }, { logits: new Float64Array(vocab).fill(-1e30), record: {} })
      const result = await sampleRows(gpu, vocab, rows)
      const expected = rows.map(({ logits }) => logits.indexOf(Math.max(...logits)))
      t.strictSame(tokensOf(result), expected, `vocabulary of ${vocab}`)
      t.strictSame([...result.sampled], expected, `fed back to the state rows, vocabulary of ${vocab}`)
    }
  })

  gpuTest(`log-probabilities are those of the raw logits, the most likely first, ${subgroups} subgroups`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const vocab of [31, 33, 300]) {
      const tied = someLogits(random, vocab).map((x, id) => id % 5 === 0 ? 9 : x)
      // Bias and temperature change the draw and must not change the report.
      const params = { ...greedy, temperature: 0.7, logitBias: [[3, 4]] as const, numLogprobs: 20 }
      const rows: readonly Row[] = [
        { logits: someLogits(random, vocab), record: recordOf({ ...greedy, numLogprobs: 20 }) },
        { logits: tied, record: recordOf({ ...greedy, numLogprobs: 20 }) },
        { logits: someLogits(random, vocab), record: recordOf(params) },
        { logits: someLogits(random, vocab), record: recordOf({ ...greedy, numLogprobs: 0 }) },
        { logits: someLogits(random, vocab).map(x => x + 1000), record: recordOf({ ...greedy, numLogprobs: 3 }) },
        { logits: someLogits(random, vocab), record: { score: true, logprobs: true, target: 0, numTop: 2, stateRow: 0 } },
        { logits: someLogits(random, vocab), record: { score: true, logprobs: true, target: vocab - 1, numTop: 0, stateRow: 0 } }
      ]
      const { results, sampled } = await sampleRows(gpu, vocab, rows)
      for (const [i, { logits, record }] of rows.entries()) {
        const result = results[i]
        if (result === undefined) throw new Error('a row has no result')
        const expected = topLogprobs(logits, record.numTop ?? 0)
        t.strictSame(result.top.map(({ token }) => token), expected.map(({ token }) => token), `row ${i}: the most likely, ties by id`)
        // e^x is good to 3 + 2|x| ulp for |x| < 25 and their sum of up to 300 rounds as often; logits around 1,000 are spaced 6e-5.
        assertClose(t, [result.logprob, ...result.top.map(({ logprob }) => logprob)], [logSoftmax(logits)[result.token] ?? NaN, ...expected.map(({ logprob }) => logprob)], () => 2e-4, `row ${i} of ${vocab}`)
        if (record.score === true) t.equal(result.token, record.target, `row ${i} scores its target`)
      }
      t.strictSame([...sampled.subarray(0, 5)], tokensOf({ results, sampled, counts: new Uint32Array() }).slice(0, 5), 'scores feed no token back')
      t.strictSame([...sampled.subarray(5)], [untouched, untouched])
    }
  })
}

/** Logits whose cuts no rounding can move: probabilities spread by steps, shuffled over the ids. */
function distinctLogits (random: SeededRandom, vocab: number): Float64Array {
  return stored(Float64Array.from(random.shuffled(Array.from({ length: vocab }, (_, rank) => 4 - 0.11 * rank))), 'f32')
}

const filters: ReadonlyArray<readonly [string, Partial<SamplingParams>]> = [
  ['temperature 1', { temperature: 1 }],
  ['temperature 0.3', { temperature: 0.3 }],
  ['temperature 2', { temperature: 2 }],
  ['top-k 1', { temperature: 1, topK: 1 }],
  ['top-k 7', { temperature: 1.5, topK: 7 }],
  ['top-k of the whole vocabulary', { temperature: 1, topK: 65 }],
  ['top-p 0.8', { temperature: 1, topP: 0.8 }],
  ['top-p of nearly nothing', { temperature: 1, topP: 1e-6 }],
  ['min-p 0.2', { temperature: 1, minP: 0.2 }],
  ['min-p 0.2 at temperature 2', { temperature: 2, minP: 0.2 }],
  ['top-k 20, top-p 0.7 and min-p 0.05', { temperature: 1.3, topK: 20, topP: 0.7, minP: 0.05 }],
  ['top-p 0.9 and bias', { temperature: 0.8, topP: 0.9, logitBias: [[0, 3], [64, -100], [13, 1.5]] }]
]

gpuTest('draws are always kept tokens, and as frequent as the reference says', withSubgroups, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const vocab = 65
  for (const [name, change] of filters) {
    const logits = distinctLogits(random, vocab)
    const params = { ...greedy, ...change }
    const { kept, probabilities } = tokenDistribution(logits, params, noHistory)
    const counts = new Uint32Array(vocab)
    // Half the draws vary the seed, half the position.
    for (const vary of ['seed', 'position'] as const) {
      const rows = Array.from({ length: 1000 }, (_, i) => ({ logits, record: recordOf(params, vary === 'seed' ? { seed: i, position: 100 } : { seed: 0x9000_0001, position: i + 1 }) }))
      for (const token of tokensOf(await sampleRows(gpu, vocab, rows))) counts[token] = (counts[token] ?? 0) + 1
    }
    t.equal(counts.findIndex((count, token) => count > 0 && kept[token] !== 1), -1, `${name}: no dropped token is drawn`)
    const { statistic, limit } = chiSquare(counts, probabilities)
    t.ok(statistic <= limit, `${name}: chi square ${statistic.toFixed(1)} of at most ${limit.toFixed(1)}`)
  }
})

gpuTest('tokens that tie with the last one kept are kept too', withSubgroups, async (t, gpu) => {
  const vocab = 33
  // Ids 4 to 9 tie for places 2 to 7.
  const logits = Float64Array.from({ length: vocab }, (_, id) => id === 20 ? 2 : id >= 4 && id <= 9 ? 1 : -1)
  for (const params of [{ ...greedy, temperature: 1, topK: 3 }, { ...greedy, temperature: 1, topP: 0.4 }]) {
    const { kept } = tokenDistribution(logits, params, noHistory)
    const rows = Array.from({ length: 300 }, (_, i) => ({ logits, record: recordOf(params, { seed: i, position: 1 }) }))
    const drawn = new Set(tokensOf(await sampleRows(gpu, vocab, rows)))
    t.strictSame([...drawn].sort((a, b) => a - b), [...kept.keys()].filter(id => kept[id] === 1), `top-k ${params.topK}, top-p ${params.topP}`)
    t.equal(drawn.size, 7)
  }
})

gpuTest('a seed and a position draw the same token in whatever row they stand', withSubgroups, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const vocab = 300
  const logits = someLogits(random, vocab)
  const rows = Array.from({ length: 40 }, (_, i) => ({ logits, record: recordOf({ ...greedy, temperature: 1.5, topP: 0.95 }, { seed: random.integer(2 ** 32), position: i }) }))
  const expected = tokensOf(await sampleRows(gpu, vocab, rows))
  const order = random.shuffled(rows.map((_, i) => i))
  const shuffled = tokensOf(await sampleRows(gpu, vocab, order.flatMap(i => rows[i] ?? [])))
  t.strictSame(shuffled, order.map(i => expected[i]))
  t.ok(new Set(expected).size > 5, 'different ones draw different tokens')
})

gpuTest('penalties and biases choose as the reference does, and what was drawn is counted', withSubgroups, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const vocab = 65
  const penalties: ReadonlyArray<Partial<SamplingParams>> = [
    { presencePenalty: 2 }, { frequencyPenalty: 1.5 }, { repetitionPenalty: 2 }, { repetitionPenalty: 0.5 }, { presencePenalty: -1, frequencyPenalty: -0.5 },
    { presencePenalty: 0.7, frequencyPenalty: 0.3, repetitionPenalty: 1.2, logitBias: [[7, 5], [8, -5]] }, { logitBias: [[64, 30]] }
  ]
  const cases = penalties.flatMap(change => [0, 1, 2, 3].map(() => {
    const tokens = (count: number): number[] => Array.from({ length: count }, () => random.integer(vocab))
    const logits = someLogits(random, vocab)
    // The most likely token was generated, so that a penalty has something to take away.
    const history = { promptTokens: tokens(10), outputTokens: [...tokens(10), logits.indexOf(Math.max(...logits))] }
    return { logits, params: { ...greedy, ...change }, history }
  }))
  const counts = cases.map(({ history }) => countsOf(history, vocab))
  const result = await sampleRows(gpu, vocab, cases.map(({ logits, params }) => ({ logits, record: recordOf(params) })), { counts })
  const expected = cases.map(({ logits, params, history }) => {
    const penalised = recordOf(params).penalties === true
    return tokenDistribution(logits, params, penalised ? history : noHistory).kept.indexOf(1)
  })
  t.strictSame(tokensOf(result), expected)
  t.ok(cases.some(({ logits }, i) => logits.indexOf(Math.max(...logits)) !== expected[i]), 'some choice was changed')
  const after = cases.flatMap(({ params }, i) => {
    const row = Uint32Array.from(counts[i] ?? [])
    const token = expected[i] ?? NaN
    if (recordOf(params).penalties === true) row[token] = (row[token] ?? 0) + 1
    return [...row]
  })
  t.strictSame([...result.counts], after)
})

gpuTest('penalties shape the frequencies of draws, too', withSubgroups, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const vocab = 33
  const logits = distinctLogits(random, vocab)
  const params = { ...greedy, temperature: 0.9, topK: 12, presencePenalty: 0.4, frequencyPenalty: 0.2, repetitionPenalty: 1.3 }
  const history = { promptTokens: [1, 2, 3, 3], outputTokens: [3, 4, 4, 5, 30] }
  const { kept, probabilities } = tokenDistribution(logits, params, history)
  const rows = Array.from({ length: 2000 }, (_, i) => ({ logits, record: recordOf(params, { seed: i, position: 7 }) }))
  const tokens = tokensOf(await sampleRows(gpu, vocab, rows, { counts: rows.map(() => countsOf(history, vocab)) }))
  const counts = new Uint32Array(vocab)
  for (const token of tokens) counts[token] = (counts[token] ?? 0) + 1
  t.equal(counts.findIndex((count, token) => count > 0 && kept[token] !== 1), -1, 'no dropped token is drawn')
  const { statistic, limit } = chiSquare(counts, probabilities)
  t.ok(statistic <= limit, `chi square ${statistic.toFixed(1)} of at most ${limit.toFixed(1)}`)
})

gpuTest('logits that are not numbers choose some token of the vocabulary, and count inside their own row', withSubgroups, async (t, gpu) => {
  const vocab = 33
  const logits = new Float64Array(vocab).fill(NaN)
  const rows = [{ ...greedy, presencePenalty: 1 }, { ...greedy, temperature: 1, presencePenalty: 1 }].map(params => ({ logits, record: recordOf(params) }))
  const result = await sampleRows(gpu, vocab, rows)
  for (const token of tokensOf(result)) t.ok(token < vocab, `token ${token}`)
  t.equal(result.counts.reduce((sum, count) => sum + count, 0), rows.length)
})

gpuTest('the smallest temperatures draw the most likely token', withSubgroups, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const logits = distinctLogits(new SeededRandom(SEED), 65)
  const best = logits.indexOf(Math.max(...logits))
  const rows = [1e-30, 1e-37, 1.2e-38, 1e-40, 1e-45].flatMap(temperature => [1, 0.5].map(topP => ({ logits, record: recordOf({ ...greedy, temperature, topP }) })))
  t.strictSame(tokensOf(await sampleRows(gpu, 65, rows)), rows.map(() => best))
})
