import t from 'tap'
import { maxConcurrent, maxOutputTokensPerSecond, steadyState } from '../../../apps/server/src/bench/serve/concurrency-timeline.ts'
import { parseObjectives } from '../../../apps/server/src/bench/serve/goodput.ts'
import { detailedReport, servingReport } from '../../../apps/server/src/bench/serve/serving-report.ts'
import type { RunDescription } from '../../../apps/server/src/bench/serve/serving-report.ts'
import { anOutcome } from './an-outcome.ts'

const about: RunDescription = {
  backend: 'openai',
  label: undefined,
  model: 'tiny',
  numPrompts: 3,
  requestRate: Infinity,
  burstiness: 1,
  maxConcurrency: undefined,
  metadata: {},
  objectives: parseObjectives([]),
  metrics: ['ttft', 'tpot', 'itl'],
  percentiles: [99]
}
const at = new Date('2026-11-21T09:30:05.678Z')

const run = {
  outcomes: [
    anOutcome({ ttft: 0.5, itls: [0.25, 0.25], outputTokens: 3, promptTokens: 100 }),
    anOutcome({ ttft: 1, itls: [0.5], outputTokens: 5, promptTokens: 50, startTime: 0.5, firstTextSeconds: 1.5 }),
    anOutcome({ error: 'HTTP 500', promptTokens: 999, outputTokens: 999, ttft: 9 })
  ],
  duration: 4,
  clientLag: 0.01
}

t.test('the report has exactly the keys of vLLM\'s result, and ours under one of our own', async t => {
  t.strictSame(Object.keys(servingReport(run, about, at)), [
    'date', 'backend', 'endpoint_type', 'label', 'model_id', 'tokenizer_id', 'num_prompts', 'request_rate', 'burstiness', 'max_concurrency',
    'duration', 'completed', 'failed', 'total_input_tokens', 'total_output_tokens', 'request_throughput', 'request_goodput',
    'output_throughput', 'total_token_throughput', 'max_output_tokens_per_s', 'max_concurrent_requests',
    'mean_ttft_ms', 'median_ttft_ms', 'std_ttft_ms', 'p99_ttft_ms',
    'mean_tpot_ms', 'median_tpot_ms', 'std_tpot_ms', 'p99_tpot_ms',
    'mean_itl_ms', 'median_itl_ms', 'std_itl_ms', 'p99_itl_ms',
    'daybreak'
  ])
  t.strictSame(Object.keys(detailedReport(run)), ['input_lens', 'output_lens', 'ttfts', 'itls', 'start_times', 'generated_texts', 'errors'])
})

t.test('totals and rates count the requests that succeeded', async t => {
  t.match(servingReport(run, about, at), {
    date: '20261121-093005',
    backend: 'openai',
    label: null,
    model_id: 'tiny',
    request_rate: 'inf',
    max_concurrency: null,
    completed: 2,
    failed: 1,
    total_input_tokens: 150,
    total_output_tokens: 8,
    request_throughput: 0.5,
    request_goodput: null,
    output_throughput: 2,
    total_token_throughput: 39.5
  })
})

t.test('TPOT divides by the tokens after the first, ITL pools the gaps of all', async t => {
  const report = servingReport(run, { ...about, metrics: ['ttft', 'tpot', 'itl', 'e2el', 'firsttext'], percentiles: [50, 99.9] }, at)
  t.match(report, {
    mean_ttft_ms: 750,
    std_ttft_ms: 250,
    // (1 - 0.5) / 2 and (1.5 - 1) / 4 seconds.
    mean_tpot_ms: 187.5,
    median_itl_ms: 250,
    mean_e2el_ms: 1250,
    p50_e2el_ms: 1250,
    mean_firsttext_ms: 1000
  })
  t.equal(Number(report['p99.9_itl_ms']).toFixed(6), '499.500000')
})

t.test('what vLLM has no key for is told beside its keys', async t => {
  const { daybreak } = servingReport(run, about, at)
  t.match(daybreak, { client_lag: 0.01, mean_client_queue_ms: 0, mean_first_text_ms: 1000, without_usage: 0 })
  // The two that succeeded overlap from 0.5 to 1 s: the second's chunks come later.
  t.match(daybreak, { steady_state: { start: 0.5, duration: 0.5, output_throughput: 6, requests: 0 } })
})

t.test('requests with one token are left out of TPOT', async t => {
  const single = { ...run, outcomes: [anOutcome({ itls: [], outputTokens: 1 }), anOutcome({ itls: [0.5, 0.5], outputTokens: 3 })] }
  t.match(servingReport(single, about, at), { mean_tpot_ms: 500 })
})

t.test('goodput counts the requests that met every objective', async t => {
  t.match(servingReport(run, { ...about, objectives: parseObjectives(['ttft:600']) }, at), { request_goodput: 0.25 })
  t.match(servingReport(run, { ...about, objectives: parseObjectives(['ttft:100']) }, at), { request_goodput: 0 })
})

t.test('a run in which everything failed is still a report', async t => {
  const failed = { outcomes: [anOutcome({ error: 'no' })], duration: 1, clientLag: 0 }
  t.match(servingReport(failed, about, at), { completed: 0, failed: 1, output_throughput: 0, mean_ttft_ms: 0, max_output_tokens_per_s: 0, daybreak: { steady_state: null } })
  t.strictSame(detailedReport(failed)['errors'], ['no'])
})

t.test('metadata and label are carried along', async t => {
  t.match(servingReport(run, { ...about, label: 'night', metadata: { gpu: 'llvmpipe' }, requestRate: 2.5, maxConcurrency: 8 }, at), {
    label: 'night', gpu: 'llvmpipe', request_rate: 2.5, max_concurrency: 8
  })
})

t.test('concurrency counts overlaps; one that ends as another starts does not overlap it', async t => {
  const from = (startTime: number, latency: number): ReturnType<typeof anOutcome> => anOutcome({ startTime, latency })
  t.equal(maxConcurrent([]), 0)
  t.equal(maxConcurrent([from(0, 1), from(1, 1)]), 1)
  t.equal(maxConcurrent([from(0, 2), from(1, 2), from(1.5, 0.1)]), 3)
})

t.test('the peak second is counted from the first request', async t => {
  // Chunks at 10.5 · 10.9, 11.1, 11.2, 11.9 · 12.4.
  t.equal(maxOutputTokensPerSecond([anOutcome({ startTime: 10, ttft: 0.5, itls: [0.4, 0.2, 0.1, 0.7, 0.5] })]), 3)
})

t.test('the steady state leaves out filling up and running dry', async t => {
  // Two requests overlap from 1 to 3; each gives a chunk every half second.
  const request = (startTime: number): ReturnType<typeof anOutcome> => anOutcome({ startTime, ttft: 0.5, itls: Array.from({ length: 5 }, () => 0.5), latency: 3, outputTokens: 6 })
  const steady = steadyState([request(0), request(1)])
  t.match(steady, { start: 1, duration: 2 })
  // Chunks within [1, 3]: at 1, 1.5, 2, 2.5, 3 of the first and 1.5, 2, 2.5, 3 of the second.
  t.equal(steady?.outputThroughput, 4.5)
  t.equal(steadyState([]), undefined)
})
