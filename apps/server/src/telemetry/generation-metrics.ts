import { Counter, Histogram } from 'prom-client'
import type { Registry } from 'prom-client'
import { choiceCountBuckets, interTokenBuckets, requestLatencyBuckets, timeToFirstTokenBuckets, tokenCountBuckets } from './buckets.ts'
import type { ChoiceRecord, GenerationObserver } from './generation-observer.ts'

/** Histograms of token counts: their bounds end at the model's context, which is known only once it is loaded. */
interface TokenHistograms {
  readonly prompt: Histogram
  readonly generated: Histogram
  readonly maxGenerated: Histogram
  readonly maxTokensParam: Histogram
  readonly prefillComputed: Histogram
}

const finishReasons = ['stop', 'length', 'abort', 'error']

/** vLLM's per-request metrics. `registry` carries `model_name` and `engine` as default labels. */
export class GenerationMetrics implements Omit<GenerationObserver, 'requestAborted'> {
  readonly #registry: Registry
  readonly #promptTokens: Counter
  readonly #generationTokens: Counter
  readonly #bySource: Counter<'source'>
  readonly #cachedPromptTokens: Counter
  readonly #success: Counter<'finished_reason'>
  readonly #numChoices: Histogram
  readonly #ttft: Histogram
  readonly #itl: Histogram
  readonly #tpot: Histogram
  readonly #e2e: Histogram
  readonly #queue: Histogram
  readonly #inference: Histogram
  readonly #prefill: Histogram
  readonly #decode: Histogram
  #tokens: TokenHistograms | undefined

  constructor (registry: Registry) {
    this.#registry = registry
    const registers = [registry]
    const counter = (name: string, help: string) => new Counter({ name, help, registers })
    const histogram = (name: string, help: string, buckets: number[]) => new Histogram({ name, help, buckets, registers })
    this.#promptTokens = counter('vllm:prompt_tokens_total', 'Number of prefill tokens processed.')
    this.#generationTokens = counter('vllm:generation_tokens_total', 'Number of generation tokens processed.')
    this.#cachedPromptTokens = counter('vllm:prompt_tokens_cached_total', 'Number of cached prompt tokens.')
    this.#bySource = new Counter({ name: 'vllm:prompt_tokens_by_source_total', help: 'Number of prompt tokens by source.', labelNames: ['source'], registers })
    this.#success = new Counter({ name: 'vllm:request_success_total', help: 'Count of successfully processed requests.', labelNames: ['finished_reason'], registers })
    this.#numChoices = histogram('vllm:request_params_n', 'Histogram of the n request parameter.', choiceCountBuckets)
    this.#ttft = histogram('vllm:time_to_first_token_seconds', 'Histogram of time to first token in seconds.', timeToFirstTokenBuckets)
    this.#itl = histogram('vllm:inter_token_latency_seconds', 'Histogram of inter-token latency in seconds.', interTokenBuckets)
    this.#tpot = histogram('vllm:request_time_per_output_token_seconds', 'Histogram of time_per_output_token_seconds per request.', interTokenBuckets)
    this.#e2e = histogram('vllm:e2e_request_latency_seconds', 'Histogram of e2e request latency in seconds.', requestLatencyBuckets)
    this.#queue = histogram('vllm:request_queue_time_seconds', 'Histogram of time spent in WAITING phase for request.', requestLatencyBuckets)
    this.#inference = histogram('vllm:request_inference_time_seconds', 'Histogram of time spent in RUNNING phase for request.', requestLatencyBuckets)
    this.#prefill = histogram('vllm:request_prefill_time_seconds', 'Histogram of time spent in PREFILL phase for request.', requestLatencyBuckets)
    this.#decode = histogram('vllm:request_decode_time_seconds', 'Histogram of time spent in DECODE phase for request.', requestLatencyBuckets)
    // Children exist from the start, so that dashboards show 0 rather than no data.
    for (const reason of finishReasons) this.#success.inc({ finished_reason: reason }, 0)
    for (const source of ['local_compute', 'local_cache_hit', 'external_kv_transfer']) this.#bySource.inc({ source }, 0)
  }

  /** Adds the token-count histograms; the first call decides their bounds. */
  modelLoaded (maxModelLen: number): void {
    if (this.#tokens !== undefined) return
    const buckets = tokenCountBuckets(maxModelLen)
    const histogram = (name: string, help: string) => new Histogram({ name, help, buckets, registers: [this.#registry] })
    this.#tokens = {
      prompt: histogram('vllm:request_prompt_tokens', 'Number of prefill tokens processed.'),
      generated: histogram('vllm:request_generation_tokens', 'Number of generation tokens processed.'),
      maxGenerated: histogram('vllm:request_max_num_generation_tokens', 'Histogram of maximum number of requested generation tokens.'),
      maxTokensParam: histogram('vllm:request_params_max_tokens', 'Histogram of the max_tokens request parameter.'),
      prefillComputed: histogram('vllm:request_prefill_kv_computed_tokens', 'Histogram of new KV tokens computed during prefill (excluding cached tokens).'),
    }
  }

  requestStarted ({ numChoices }: { readonly numChoices: number }): void {
    this.#numChoices.observe(numChoices)
  }

  promptScheduled ({ promptTokens, cachedTokens }: { readonly promptTokens: number, readonly cachedTokens: number }): void {
    this.#promptTokens.inc(promptTokens)
    this.#cachedPromptTokens.inc(cachedTokens)
    this.#bySource.inc({ source: 'local_compute' }, promptTokens - cachedTokens)
    this.#bySource.inc({ source: 'local_cache_hit' }, cachedTokens)
  }

  firstToken (seconds: number): void { this.#ttft.observe(seconds) }
  interToken (seconds: number): void { this.#itl.observe(seconds) }
  tokensGenerated (count: number): void { this.#generationTokens.inc(count) }

  choiceFinished (record: ChoiceRecord): void {
    this.#success.inc({ finished_reason: record.reason })
    this.#observeTokens(record)
    const { queuedAt, scheduledAt, firstTokenAt, lastTokenAt, generatedTokens } = record
    this.#e2e.observe(record.finishedAt - record.arrivedAt)
    if (scheduledAt === undefined) return
    this.#queue.observe(scheduledAt - queuedAt)
    if (firstTokenAt === undefined || lastTokenAt === undefined) return
    this.#inference.observe(lastTokenAt - scheduledAt)
    this.#prefill.observe(firstTokenAt - scheduledAt)
    this.#decode.observe(lastTokenAt - firstTokenAt)
    this.#tpot.observe(generatedTokens > 1 ? (lastTokenAt - firstTokenAt) / (generatedTokens - 1) : 0)
  }

  #observeTokens (record: ChoiceRecord): void {
    this.#tokens?.prompt.observe(record.promptTokens)
    this.#tokens?.generated.observe(record.generatedTokens)
    this.#tokens?.maxGenerated.observe(record.generatedTokens)
    this.#tokens?.maxTokensParam.observe(record.maxTokens)
    this.#tokens?.prefillComputed.observe(record.promptTokens - record.cachedTokens)
  }
}
