import parsePrometheus from 'parse-prometheus-text-format'
import t from 'tap'
import { fakeEos } from '../fakes/fake-text-service.ts'
import { idleStats, says } from '../fakes/fake-generation-service.ts'
import { Exposition, pythonBounds } from '../../apps/server/src/telemetry/exposition.ts'
import { SnapshotCounter } from '../../apps/server/src/telemetry/snapshot-counter.ts'
import { tokenCountBuckets } from '../../apps/server/src/telemetry/buckets.ts'
import { aServer, userSays } from './server-under-test.ts'
import type { ServerUnderTest } from './server-under-test.ts'

type Family = ReturnType<typeof parsePrometheus>[number]

async function scrape (server: ServerUnderTest): Promise<{ readonly text: string, readonly families: ReadonlyMap<string, Family>, readonly types: ReadonlyMap<string, string> }> {
  const response = await fetch(`${server.url}/metrics`)
  const text = await response.text()
  return {
    text,
    families: new Map(parsePrometheus(text).map(family => [family.name, family])),
    types: new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name ?? '', type ?? ''])),
  }
}

/** The value of one sample, found by its name and labels in any order. */
function sample (text: string, name: string, labels: Readonly<Record<string, string>>): number | undefined {
  for (const [, labelText = '', value] of text.matchAll(new RegExp(`^${name}\\{(.*)\\} (\\S+)$`, 'gm'))) {
    const found = Object.fromEntries([...labelText.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text]))
    if (Object.keys(found).length === Object.keys(labels).length && Object.entries(labels).every(([key, value]) => found[key] === value)) return Number(value)
  }
  return undefined
}

const engine = { model_name: 'fake', engine: '0' }

/** vLLM's names with their types, and the labels whose children exist before anything happened. */
const expected: ReadonlyArray<readonly [name: string, type: string, children?: readonly [label: string, ...values: string[]]]> = [
  ['vllm:num_requests_running', 'gauge'],
  ['vllm:num_requests_waiting', 'gauge'],
  ['vllm:num_requests_waiting_by_reason', 'gauge', ['reason', 'capacity', 'deferred']],
  ['vllm:kv_cache_usage_perc', 'gauge'],
  ['vllm:prefix_cache_queries_total', 'counter'],
  ['vllm:prefix_cache_hits_total', 'counter'],
  ['vllm:num_preemptions_total', 'counter'],
  ['vllm:prompt_tokens_total', 'counter'],
  ['vllm:generation_tokens_total', 'counter'],
  ['vllm:prompt_tokens_cached_total', 'counter'],
  ['vllm:prompt_tokens_by_source_total', 'counter', ['source', 'local_compute', 'local_cache_hit', 'external_kv_transfer']],
  ['vllm:request_success_total', 'counter', ['finished_reason', 'stop', 'length', 'abort', 'error']],
  ['vllm:request_prompt_tokens', 'histogram'],
  ['vllm:request_generation_tokens', 'histogram'],
  ['vllm:request_max_num_generation_tokens', 'histogram'],
  ['vllm:request_params_max_tokens', 'histogram'],
  ['vllm:request_prefill_kv_computed_tokens', 'histogram'],
  ['vllm:iteration_tokens_total', 'histogram'],
  ['vllm:request_params_n', 'histogram'],
  ['vllm:time_to_first_token_seconds', 'histogram'],
  ['vllm:inter_token_latency_seconds', 'histogram'],
  ['vllm:request_time_per_output_token_seconds', 'histogram'],
  ['vllm:e2e_request_latency_seconds', 'histogram'],
  ['vllm:request_queue_time_seconds', 'histogram'],
  ['vllm:request_inference_time_seconds', 'histogram'],
  ['vllm:request_prefill_time_seconds', 'histogram'],
  ['vllm:request_decode_time_seconds', 'histogram'],
]

t.test('every metric of vLLM\'s that this version has is there before the first request, under its name, type and labels', async t => {
  const { text, families, types } = await scrape(await aServer(t))
  for (const [name, type, children] of expected) {
    t.equal(types.get(name), type, name)
    t.ok(families.has(name), `${name} parses`)
    const suffix = type === 'histogram' ? '_count' : ''
    if (children === undefined) t.equal(sample(text, name + suffix, engine), 0, `${name} is 0`)
    else for (const value of children.slice(1)) t.equal(sample(text, name, { ...engine, [children[0]]: value }), 0, `${name} ${value} is 0`)
  }
  t.equal(sample(text, 'vllm:cache_config_info', {
    ...engine, block_size: '16', num_gpu_blocks: '64', num_cpu_blocks: '0', cache_dtype: 'f16', kv_cache_size_tokens: '1024',
  }), 1)
})

t.test('bounds are printed as Python prints them, and are vLLM\'s', async t => {
  const { text } = await scrape(await aServer(t))
  const bounds = (name: string) => [...text.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]*)"`, 'gm'))].map(([, bound]) => bound)
  t.strictSame(bounds('vllm:time_to_first_token_seconds'), [
    '0.001', '0.005', '0.01', '0.02', '0.04', '0.06', '0.08', '0.1', '0.25', '0.5', '0.75', '1.0', '2.5', '5.0', '7.5', '10.0', '20.0', '40.0', '80.0', '160.0', '640.0', '2560.0', '+Inf',
  ])
  t.strictSame(bounds('vllm:request_prompt_tokens'), ['1.0', '2.0', '5.0', '10.0', '20.0', '50.0', '100.0', '200.0', '500.0', '1000.0', '+Inf'])
  t.notMatch(text, /\ble="\d+"/)
  t.equal(pythonBounds('x_bucket{le="1000000",a="7"} 1'), 'x_bucket{le="1e+06",a="7"} 1')
  t.equal(pythonBounds('x{le="2500000"}'), 'x{le="2.5e+06"}')
  t.equal(pythonBounds('x{le="100000",role="1"}'), 'x{le="100000.0",role="1"}')
  t.strictSame(tokenCountBuckets(20), [1, 2, 5, 10, 20])
})

t.test('a request is counted once, in tokens, choices, reasons and intervals', async t => {
  const server = await aServer(t, { script: says('abcd', { eos: fakeEos, cachedTokens: 8 }) })
  await server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), n: 2, max_tokens: 50 })
  const { text } = await scrape(server)
  const value = (name: string, labels = {}) => sample(text, name, { ...engine, ...labels })
  t.equal(value('vllm:prompt_tokens_total'), 20)
  t.equal(value('vllm:prompt_tokens_cached_total'), 8)
  t.equal(value('vllm:prompt_tokens_by_source_total', { source: 'local_compute' }), 12)
  t.equal(value('vllm:generation_tokens_total'), 10)
  t.equal(value('vllm:request_success_total', { finished_reason: 'stop' }), 2)
  t.equal(value('vllm:request_params_n_sum'), 2)
  t.equal(value('vllm:request_generation_tokens_sum'), 10)
  t.equal(value('vllm:request_params_max_tokens_sum'), 100)
  t.equal(value('vllm:request_prefill_kv_computed_tokens_sum'), 24)
  for (const name of ['time_to_first_token_seconds', 'e2e_request_latency_seconds', 'request_queue_time_seconds', 'request_prefill_time_seconds', 'request_decode_time_seconds', 'request_inference_time_seconds', 'request_time_per_output_token_seconds']) {
    t.equal(value(`vllm:${name}_count`), 2, name)
  }
  const ttft = value('vllm:time_to_first_token_seconds_sum') ?? NaN
  t.ok(ttft > 0 && ttft <= (value('vllm:e2e_request_latency_seconds_sum') ?? NaN))
})

t.test('gauges follow the service\'s snapshot; counters grow on through a restart that resets it', async t => {
  const server = await aServer(t)
  server.generation.stats = { ...idleStats, numRunning: 3, numWaiting: 2, numBackground: 7, kvCacheUsage: 0.5, numSwapped: 1, hostTierUsage: 0.25, swappedOutBlocks: 12, swappedInBlocks: 8, prefixCacheQueries: 100, prefixCacheHits: 60, numPreemptions: 4 }
  const before = (await scrape(server)).text
  t.equal(sample(before, 'vllm:num_requests_running', engine), 3)
  t.equal(sample(before, 'vllm:num_requests_waiting', engine), 2)
  t.equal(sample(before, 'vllm:num_requests_waiting_by_reason', { ...engine, reason: 'capacity' }), 2)
  t.equal(sample(before, 'daybreak_background_requests', engine), 7)
  t.equal(sample(before, 'vllm:kv_cache_usage_perc', engine), 0.5)
  t.equal(sample(before, 'vllm:prefix_cache_hits_total', engine), 60)
  t.equal(sample(before, 'vllm:num_requests_swapped', engine), 1)
  t.equal(sample(before, 'vllm:cpu_cache_usage_perc', engine), 0.25)
  t.equal(sample(before, 'daybreak_kv_swapped_out_blocks_total', engine), 12)
  t.equal(sample(before, 'daybreak_kv_swapped_in_blocks_total', engine), 8)
  server.generation.stats = { ...idleStats, prefixCacheQueries: 10, numPreemptions: 1, swappedOutBlocks: 3 }
  server.generation.numRestarts = 1
  const after = (await scrape(server)).text
  t.equal(sample(after, 'vllm:prefix_cache_queries_total', engine), 110)
  t.equal(sample(after, 'vllm:num_preemptions_total', engine), 5)
  t.equal(sample(after, 'daybreak_kv_swapped_out_blocks_total', engine), 15)
  t.match(after, /^daybreak_engine_restarts_total 1$/m)
  const counter = new SnapshotCounter()
  t.strictSame([counter.growth(5), counter.growth(5), counter.growth(2)], [5, 0, 2])
})

t.test('engine steps are observed as they happen', async t => {
  const server = await aServer(t)
  server.generation.step({ numTokens: 40, numSequences: 3, hostSeconds: 0.002, deviceSeconds: 0.004 })
  const { text } = await scrape(server)
  t.equal(sample(text, 'vllm:iteration_tokens_total_sum', engine), 40)
  t.match(text, /^daybreak_step_host_seconds_sum 0\.002$/m)
  t.match(text, /^daybreak_step_device_seconds_sum 0\.004$/m)
  t.match(text, /^daybreak_step_sequences_count 1$/m)
})

t.test('responses are counted by route, method and class of status; what clients invent adds no series', async t => {
  const server = await aServer(t, { script: says('x') })
  await server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi') })
  await server.post('/v1/chat/completions', { model: 'other-1', messages: userSays('Hi') })
  for (const path of ['/nowhere/1', '/nowhere/2', '/v1/models/org/fake', '/v1/models/unknown']) await (await fetch(server.url + path)).text()
  const { text } = await scrape(server)
  const count = (handler: string, method: string, status: string) => sample(text, 'http_requests_total', { handler, method, status })
  t.equal(count('/v1/chat/completions', 'POST', '2xx'), 1)
  t.equal(count('/v1/chat/completions', 'POST', '4xx'), 1)
  t.equal(count('/v1/models/*', 'GET', '2xx'), 1)
  t.equal(count('/v1/models/*', 'GET', '4xx'), 1)
  t.equal(count('none', 'GET', '4xx'), 2)
  t.equal(sample(text, 'http_request_duration_seconds_count', { handler: '/v1/chat/completions', method: 'POST' }), 2)
  t.ok((sample(text, 'http_request_size_bytes_sum', { handler: '/v1/chat/completions' }) ?? 0) > 0)
  t.ok((sample(text, 'http_response_size_bytes_sum', { handler: '/v1/chat/completions' }) ?? 0) > 0)
  t.equal(sample(text, 'daybreak_rejections_total', { reason: 'model_not_found' }), 2)
  t.notMatch(text, /other-1|nowhere/)
})

t.test('the text is rendered again only when the cache has expired', async t => {
  let now = 0
  let numRendered = 0
  const registry = { metrics: async () => `rendered ${++numRendered}\n` }
  const exposition = new Exposition([registry], 0.05, () => now)
  t.equal(await exposition.render(), 'rendered 1\n')
  now = 0.049
  t.equal(await exposition.render(), 'rendered 1\n')
  now = 0.05
  t.equal(await exposition.render(), 'rendered 2\n')
})
