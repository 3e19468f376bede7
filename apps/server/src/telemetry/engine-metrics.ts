import { Counter, Gauge, Histogram } from 'prom-client'
import type { Registry } from 'prom-client'
import type { EngineCapacity, GenerationService } from '../generation/generation-service.ts'
import { iterationTokenBuckets } from './buckets.ts'
import { SnapshotCounter } from './snapshot-counter.ts'

/**
 * vLLM's gauges and counters about the engine, read from the service's latest snapshot when scraped.
 * `registry` carries `model_name` and `engine` as default labels.
 */
export function registerEngineMetrics (registry: Registry, generation: GenerationService): void {
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({ name, help, registers, collect () { this.set(read()) } })
  const counter = (name: string, help: string, read: () => number): void => {
    const snapshot = new SnapshotCounter()
    const created = new Counter({ name, help, registers, collect () { this.inc(snapshot.growth(read())) } })
    created.inc(0)
  }
  gauge('vllm:num_requests_running', 'Number of requests in model execution batches.', () => generation.stats.numRunning)
  gauge('vllm:num_requests_waiting', 'Number of requests waiting to be processed.', () => generation.stats.numWaiting)
  gauge('daybreak_background_requests', 'Unfinished requests of batches, running or waiting; the waiting ones are in no other gauge.', () => generation.stats.numBackground)
  gauge('vllm:kv_cache_usage_perc', 'KV-cache usage. 1 means 100 percent usage.', () => generation.stats.kvCacheUsage)
  // vLLM's names from when it swapped; its present version has no host tier of its own.
  gauge('vllm:num_requests_swapped', 'Number of requests swapped to CPU; they are among the waiting ones.', () => generation.stats.numSwapped)
  gauge('vllm:cpu_cache_usage_perc', 'CPU KV-cache usage. 1 means 100 percent usage.', () => generation.stats.hostTierUsage)
  counter('daybreak_kv_swapped_out_blocks_total', 'KV blocks of preempted requests copied to host memory.', () => generation.stats.swappedOutBlocks)
  counter('daybreak_kv_swapped_in_blocks_total', 'KV blocks copied back from host memory.', () => generation.stats.swappedInBlocks)
  counter('vllm:prefix_cache_queries_total', 'Prefix cache queries, in terms of number of queried tokens.', () => generation.stats.prefixCacheQueries)
  counter('vllm:prefix_cache_hits_total', 'Prefix cache hits, in terms of number of cached tokens.', () => generation.stats.prefixCacheHits)
  counter('vllm:num_preemptions_total', 'Cumulative number of preemption from the engine.', () => generation.stats.numPreemptions)
  // Nothing defers a request but missing capacity in this version; the two always sum to the waiting ones.
  const byReason = new Gauge({
    name: 'vllm:num_requests_waiting_by_reason',
    help: 'Number of requests waiting, by reason.',
    labelNames: ['reason'],
    registers,
    collect: () => {
      byReason.set({ reason: 'capacity' }, generation.stats.numWaiting)
      byReason.set({ reason: 'deferred' }, 0)
    },
  })
  registerCacheInfo(registry, generation)
  const iterationTokens = new Histogram({
    name: 'vllm:iteration_tokens_total', help: 'Histogram of number of tokens per engine_step.', buckets: iterationTokenBuckets, registers,
  })
  generation.onStep(({ numTokens }) => iterationTokens.observe(numTokens))
}

function registerCacheInfo (registry: Registry, generation: GenerationService): void {
  let shown: EngineCapacity | undefined
  const info = new Gauge({
    name: 'vllm:cache_config_info',
    help: 'Information of the LLMEngine CacheConfig',
    // Readers parse these as integers: always plain digits.
    labelNames: ['block_size', 'num_gpu_blocks', 'num_cpu_blocks', 'cache_dtype', 'kv_cache_size_tokens'],
    registers: [registry],
    collect: () => {
      const { capacity } = generation
      if (capacity === undefined || capacity === shown) return
      shown = capacity
      info.reset()
      info.set({
        block_size: capacity.blockSize,
        num_gpu_blocks: capacity.numKVBlocks,
        num_cpu_blocks: capacity.numHostSlots,
        cache_dtype: capacity.dtype,
        kv_cache_size_tokens: capacity.blockSize * capacity.numKVBlocks,
      }, 1)
    },
  })
}
