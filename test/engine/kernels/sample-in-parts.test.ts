import type { SamplingParams } from '@daybreak/engine/contract'
import type { Test } from 'tap'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { chiSquare } from '../../reference/chi-square.ts'
import { stored } from '../../reference/float16.ts'
import { logSoftmax, topLogprobs } from '../../reference/logprobs.ts'
import { randomUniform, tokenDistribution } from '../../reference/sampling.ts'
import { assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countsOf, greedy, noHistory, recordOf, sampleRows, tokensOf } from './sample-rows.ts'
import type { Row } from './sample-rows.ts'

const SEED = 20261126
const VOCAB = 300
const gpu = await GpuHarness.open()

type Change = Partial<SamplingParams>
const drawn: SamplingParams = { ...greedy, temperature: 1 }
/** Probabilities so even that every kept token is drawn, and each rank apart from its neighbours by more than rounding. */
const evenLogits = (random: SeededRandom): Float64Array => stored(Float64Array.from(random.shuffled(Array.from({ length: VOCAB }, (_, rank) => 4 - 0.004 * rank))), 'f32')

/** Draws from one row with many seeds: exactly the kept tokens come, as often as the reference says. */
async function assertDraws (t: Test, gpu: GpuHarness, logits: Float64Array, params: SamplingParams, numDraws: number, title: string): Promise<void> {
  const { kept, probabilities } = tokenDistribution(logits, params, noHistory)
  const rows = Array.from({ length: numDraws }, (_, seed) => ({ logits, record: recordOf(params, { seed, position: 11 }) }))
  const counts = new Uint32Array(logits.length)
  for (const token of tokensOf(await sampleRows(gpu, logits.length, rows))) counts[token] = (counts[token] ?? 0) + 1
  t.strictSame([...counts].map(count => count > 0), [...kept].map(keeps => keeps === 1), `${title}: the ${kept.filter(keeps => keeps === 1).length} kept tokens`)
  const { statistic, limit } = chiSquare(counts, probabilities)
  t.ok(statistic <= limit, `${title}: chi square ${statistic.toFixed(1)} of at most ${limit.toFixed(1)}`)
}

/** How far the random number lies from the token's stretch of the cumulative distribution; inside, it is negative. */
function distanceOf (token: number, logits: Float64Array, params: SamplingParams, position: number): number {
  const { probabilities } = tokenDistribution(logits, params, noHistory)
  const uniform = randomUniform(params.seed, position)
  const before = probabilities.subarray(0, token).reduce((sum, probability) => sum + probability, 0)
  return Math.max(before - uniform, uniform - before - (probabilities[token] ?? NaN))
}

/** What fits the list of 128, what does not, and what is mostly above the place where the list begins. */
const cuts: readonly Change[] = [
  {}, { topP: 0.2 }, { topP: 0.45 }, { topP: 0.9 }, { topP: 0.999 }, { topK: 3 }, { topK: 128 }, { topK: 129 }, { topK: 299 }, { minP: 0.8 }, { minP: 0.4 },
  { topK: 200, topP: 0.3 }, { topK: 200, topP: 0.9 }, { minP: 0.4, topP: 0.8 }, { temperature: 0.5, topP: 0.9, logitBias: [[0, 0.7], [299, -0.5], [64, -100]] }
]

gpuTest('a cut keeps the reference\'s tokens, few or many', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const change of cuts) await assertDraws(t, gpu, evenLogits(random), { ...drawn, ...change }, 6000, JSON.stringify(change))
})

gpuTest('ties at a cut are kept across parts, few or many', gpu, async (t, gpu) => {
  const few = new Set([5, 63, 64, 128, 299])
  for (const [title, isTied] of [['5 tie', (id: number) => few.has(id)], ['200 tie', (id: number) => id % 3 !== 1]] as const) {
    const logits = Float64Array.from({ length: VOCAB }, (_, id) => id === 100 ? 3 : isTied(id) ? 2 : -9)
    for (const change of [{ topK: 2 }, { topP: 0.5 }, { minP: 0.3 }, { topK: 4, topP: 0.7 }]) await assertDraws(t, gpu, logits, { ...drawn, ...change }, 6000, `${title}, ${JSON.stringify(change)}`)
  }
})

gpuTest('where most chunks may hold kept tokens the whole row is walked, and draws are the reference\'s', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  // More than 64 chunks are many here. Two teams of threads walk; the vocabulary ends with neither a part nor a vector.
  const [threads, vocab] = [64, 2402]
  // So flat that bins hold too many for the list, or just few enough; one token stands out.
  const flat = (slope: number): Float64Array => stored(Float64Array.from(random.shuffled(Array.from({ length: vocab }, (_, rank) => rank === 0 ? 5 : 2 - slope * rank))), 'f32')
  const ways = [{ topP: 0.3 }, { topP: 0.7 }, { topP: 0.7, logitBias: [[5, 3]] }, { topP: 0.999 }, { topK: 100 }, { topK: 1000 }, { minP: 0.02 }, { temperature: 0.3, topP: 0.8 }] as const
  const draws = [1e-5, 0.0004, 0.003].flatMap(slope => ways.flatMap(change => [1, 2, 3].map(position => ({ logits: flat(slope), params: { ...drawn, ...change, seed: random.integer(2 ** 32) }, position }))))
  const tokens = tokensOf(await sampleRows(gpu, vocab, draws.map(({ logits, params, position }) => ({ logits, record: recordOf(params, { position }) })), { threads }))
  // Sums of 2,402 masses that are each rounded to 2^-30, and of floats.
  const far = draws.flatMap(({ logits, params, position }, i) => distanceOf(tokens[i] ?? NaN, logits, params, position) < 3e-6 ? [] : [{ token: tokens[i], params }])
  t.strictSame(far, [], `all ${draws.length} tokens lie where the random number does`)
})

gpuTest('a top-p next to 1 reaches tokens too rare for the bins', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  // 299 tokens share 5.5e-5 of the mass, and half of that is kept. With the likely one first, the largest random numbers draw them.
  const ranks = random.shuffled(Array.from({ length: VOCAB - 1 }, (_, rank) => rank))
  const logits = stored(Float64Array.from([0, ...ranks.map(rank => -15.5 - 0.001 * rank)]), 'f32')
  const params = { ...drawn, topP: 1 - 2.7e-5 }
  const position = 3
  const seeds = Array.from({ length: 1_000_000 }, (_, seed) => seed).filter(seed => randomUniform(seed, position) > 1 - 3e-5)
  t.ok(seeds.length > 10, `${seeds.length} random numbers that large`)
  const tokens = tokensOf(await sampleRows(gpu, VOCAB, seeds.map(seed => ({ logits, record: recordOf(params, { seed, position }) }))))
  // A mass of 200 units is rounded by up to half of one, the sum of 150 of them to 1e-7 of all.
  for (const [i, seed] of seeds.entries()) t.ok(distanceOf(tokens[i] ?? NaN, logits, { ...params, seed }, position) < 1e-6, `seed ${seed}: token ${tokens[i]}`)
})

gpuTest('top logprobs are found across parts, equal ones in order of id, however many tie', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const some = (): Float64Array => stored(random.normals(VOCAB, 3), 'f32')
  const penalised = { presencePenalty: 5, repetitionPenalty: 3, logitBias: [[7, 50], [280, -50]] as const }
  const rows = [
    some(), some().map((x, id) => id % 2 === 0 ? 9 : x), new Float64Array(VOCAB).fill(1), some().map((x, id) => id > 290 ? 20 + id : 9), some().map((x, id) => id < 250 ? -Infinity : x)
  ].flatMap((logits): Row[] => [{}, penalised, { temperature: 0.6, topP: 0.5 }].map(change => ({ logits: Float64Array.from(logits), record: recordOf({ ...greedy, ...change, numLogprobs: 20 }) })))
  const counts = rows.map(() => countsOf({ promptTokens: [1, 2], outputTokens: [3, 7, 64] }, VOCAB))
  const { results } = await sampleRows(gpu, VOCAB, rows, { counts })
  for (const [i, { logits }] of rows.entries()) {
    const expected = topLogprobs(logits, 20)
    const { token, logprob, top } = results[i] ?? { token: NaN, logprob: NaN, top: [] }
    t.strictSame(top.map(({ token }) => token), expected.map(({ token }) => token), `row ${i}`)
    // e^x is good to 3 + 2|x| ulp for |x| < 25, and sums of 300 round as often.
    assertClose(t, [logprob, ...top.map(({ logprob }) => logprob)], [logSoftmax(logits)[token] ?? NaN, ...expected.map(({ logprob }) => logprob)], () => 2e-4, `row ${i}`)
  }
})

gpuTest('a row with little or nothing to choose from gives a token of the vocabulary: the only number, if there is one', gpu, async (t, gpu) => {
  const ways: readonly Change[] = [greedy, drawn, { ...drawn, topP: 0.5 }, { ...drawn, topK: 5 }, { ...drawn, minP: 0.1 }, { ...drawn, topK: 200, topP: 0.9 }, { ...greedy, logitBias: [[3, 1]] }]
  const rows = (fill: number, only: number | undefined): Row[] => ways.map(change => {
    const logits = new Float64Array(VOCAB).fill(fill)
    if (only !== undefined) logits[200] = only
    return { logits, record: recordOf({ ...greedy, ...change, presencePenalty: 1, numLogprobs: 3 }) }
  })
  for (const [fill, only] of [[NaN, -5], [-Infinity, -5], [-Infinity, 1e30], [7, Infinity], [NaN, undefined], [-Infinity, undefined], [-3.4028234663852886e38, undefined]] as const) {
    const result = await sampleRows(gpu, VOCAB, rows(fill, only))
    if (only === undefined) for (const token of tokensOf(result)) t.ok(token < VOCAB, `all ${fill}: token ${token}`)
    else t.strictSame(tokensOf(result), ways.map(() => 200), `${only} among ${fill}`)
    t.equal(result.counts.reduce((sum, count) => sum + count, 0), ways.length, 'counted in their own rows')
  }
})

gpuTest('a row\'s bits are the same alone and among others', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const rows = [...cuts, {}].flatMap(change => [3, 0.3].map((deviation, i): Row => ({
    logits: stored(random.normals(VOCAB, deviation), 'f32'),
    record: recordOf({ ...drawn, ...change, presencePenalty: i, numLogprobs: 20 }, { seed: random.integer(2 ** 32), position: i })
  })))
  const counts = rows.map(() => countsOf({ promptTokens: [], outputTokens: [random.integer(VOCAB), random.integer(VOCAB)] }, VOCAB))
  const together = await sampleRows(gpu, VOCAB, rows, { counts })
  const order = random.shuffled(rows.map((_, i) => i))
  const shuffled = await sampleRows(gpu, VOCAB, order.flatMap(i => rows[i] ?? []), { counts: order.flatMap(i => counts[i] ?? []).map(row => row) })
  t.strictSame(shuffled.results, order.map(i => together.results[i]), 'in another order')
  for (const [i, row] of rows.entries()) {
    const alone = await sampleRows(gpu, VOCAB, [row], { counts: counts.slice(i, i + 1) })
    t.strictSame(alone.results[0], together.results[i], `row ${i}`)
  }
})

gpuTest('151,936 tokens: the first of equals, and the token in which the cumulative probability passes the random number', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const vocab = 151_936
  // As text has them, with 60 tokens making nine tenths; and of no text, with thousands.
  const text = stored(Float64Array.from(random.shuffled(Array.from({ length: vocab }, (_, rank) => 20 - 1.5 * Math.log(rank + 1)))), 'f32')
  const flat = stored(random.normals(vocab, 3), 'f32')
  const ties: Row[] = [[4095, 4096, vocab - 1], [4096, 8191], [vocab - 1]].map(ids => ({ logits: flat.map((x, id) => ids.includes(id) ? 50 : x), record: recordOf({ ...greedy, numLogprobs: 20 }) }))
  const ways: ReadonlyArray<readonly [Float64Array, Change]> = [
    [text, {}], [text, { topP: 0.9 }], [text, { topK: 50 }], [text, { minP: 0.05 }], [text, { topK: 50, topP: 0.8 }], [text, { temperature: 0.3, topP: 0.99 }],
    [flat, { temperature: 0.8 }], [flat, { topP: 0.9 }], [flat, { topK: 50 }], [flat, { topK: 3000, topP: 0.95 }], [flat, { minP: 0.0001 }], [flat, { temperature: 2, topP: 0.9, logitBias: [[5, 20]] }]
  ]
  const draws = ways.flatMap(([logits, change]) => [1, 2].map(position => ({ logits, params: { ...drawn, ...change, seed: random.integer(2 ** 32) }, position })))
  const rows = [...ties, ...draws.map(({ logits, params, position }) => ({ logits, record: recordOf(params, { position }) }))]
  const { results } = await sampleRows(gpu, vocab, rows, { asEngine: true })
  for (const [i, { logits }] of ties.entries()) {
    t.equal(results[i]?.token, logits.indexOf(50), `tie ${i}`)
    t.strictSame(results[i]?.top.map(({ token }) => token), topLogprobs(logits, 20).map(({ token }) => token), `tie ${i}: the most likely`)
  }
  for (const [i, { logits, params, position }] of draws.entries()) {
    const token = results[ties.length + i]?.token ?? NaN
    const distance = distanceOf(token, logits, params, position)
    const title = `${logits === text ? 'text' : 'flat'} ${JSON.stringify(ways[i >> 1]?.[1])}: token ${token}, off by ${distance.toExponential(1)}`
    // A token more or less at the cut of thousands moves the others by its share, here up to 2e-5; rounding by 1e-6.
    t.ok(tokenDistribution(logits, params, noHistory).kept[token] === 1 && distance < 3e-5, title)
  }
})
