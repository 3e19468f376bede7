import type { Command } from 'commander'
import { jsonObject, keyValue, listOf, numberFrom, oneOf, positiveNumber, positiveOrInfinite, wholeNumber } from '../flag-values.ts'
import { BACKENDS } from './backend.ts'
import type { Backend } from './backend.ts'
import { METRICS } from './serving-report.ts'
import type { Metric } from './serving-report.ts'

export const DATASETS = Object.freeze(['random', 'sharegpt', 'custom', 'prefix_repetition'] as const)
export type DatasetName = typeof DATASETS[number]

/** The flags of `daybreak bench serve`, as commander hands them over. Names and defaults are those of vLLM's `bench serve`. */
export interface ServeFlags {
  readonly backend: Backend
  readonly baseUrl?: string
  readonly host: string
  readonly port: number
  readonly endpoint?: string
  readonly model?: string
  readonly servedModelName?: string
  readonly vocabSize?: number
  readonly datasetName: DatasetName
  readonly datasetPath?: string
  readonly numPrompts: number
  readonly requestRate: number
  readonly burstiness: number
  readonly maxConcurrency?: number
  readonly randomInputLen: number
  readonly randomOutputLen: number
  readonly randomRangeRatio: number
  readonly randomPrefixLen: number
  readonly prefixRepetitionNumPrefixes: number
  readonly prefixRepetitionPrefixLen: number
  readonly prefixRepetitionSuffixLen: number
  readonly prefixRepetitionOutputLen: number
  readonly customOutputLen: number
  readonly sharegptOutputLen?: number
  readonly temperature: number
  readonly ignoreEos: boolean
  readonly extraBody: Readonly<Record<string, unknown>>
  readonly header: Readonly<Record<string, string>>
  readonly percentileMetrics: readonly Metric[]
  readonly metricPercentiles: readonly number[]
  readonly goodput: readonly string[]
  readonly numWarmups: number
  readonly readyCheckTimeoutSec: number
  readonly seed: number
  readonly label?: string
  readonly metadata: readonly string[]
  readonly saveResult: boolean
  readonly saveDetailed: boolean
  readonly appendResult: boolean
  readonly resultDir?: string
  readonly resultFilename?: string
  readonly disableTqdm: boolean
  readonly json: boolean
}

const percentiles = (text: string): readonly number[] => text.split(',').map(numberFrom(0, 100.0001))

export function addServeFlags (command: Command): Command {
  return command
    .option('--backend <name>', `kind of API: ${BACKENDS.join(', ')}`, oneOf(BACKENDS), 'openai')
    .option('--base-url <url>', 'server under test, without /v1 (instead of --host and --port)')
    .option('--host <host>', 'host of the server under test', '127.0.0.1')
    .option('--port <port>', 'port of the server under test', wholeNumber(1, 65_535), 8000)
    .option('--endpoint <path>', 'path of the API (default: that of the backend)')
    .option('--model <name>', "model to ask for (default: the server's first)")
    .option('--served-model-name <name>', 'name the server knows the model by, where it differs from --model')
    .option('--vocab-size <count>', 'token ids below this are valid (default: asked of the server)', wholeNumber(1))
    .option('--dataset-name <name>', `workload: ${DATASETS.join(', ')}`, oneOf(DATASETS), 'random')
    .option('--dataset-path <file>', 'file of the sharegpt or custom dataset')
    .option('--num-prompts <count>', 'requests to send', wholeNumber(1, 10_000_000), 1000)
    .option('--request-rate <perSecond>', 'requests per second, or inf for all at once', positiveOrInfinite, Infinity)
    .option('--burstiness <shape>', 'shape of the gamma distribution of gaps: 1 is Poisson, less is burstier', positiveNumber, 1)
    .option('--max-concurrency <count>', 'requests in flight at most', wholeNumber(1))
    .option('--random-input-len <tokens>', 'random: tokens of a prompt behind its prefix', wholeNumber(1, 10_000_000), 1024)
    .option('--random-output-len <tokens>', 'random: tokens to generate', wholeNumber(1, 10_000_000), 128)
    .option('--random-range-ratio <ratio>', 'random: lengths vary by this share either way', numberFrom(0, 1), 0)
    .option('--random-prefix-len <tokens>', 'random: tokens that all prompts begin with', wholeNumber(0, 10_000_000), 0)
    .option('--prefix-repetition-num-prefixes <count>', 'prefix_repetition: different prefixes', wholeNumber(1), 10)
    .option('--prefix-repetition-prefix-len <tokens>', 'prefix_repetition: tokens of a prefix', wholeNumber(0, 10_000_000), 256)
    .option('--prefix-repetition-suffix-len <tokens>', 'prefix_repetition: tokens behind it', wholeNumber(1, 10_000_000), 256)
    .option('--prefix-repetition-output-len <tokens>', 'prefix_repetition: tokens to generate', wholeNumber(1, 10_000_000), 128)
    .option('--custom-output-len <tokens>', 'custom: tokens to generate where a line does not say', wholeNumber(1), 256)
    .option('--sharegpt-output-len <tokens>', "sharegpt: tokens to generate (default: the answer's)", wholeNumber(1))
    .option('--temperature <value>', 'sampling temperature', numberFrom(0), 0)
    .option('--ignore-eos', 'generate every token asked for', false)
    .option('--extra-body <json>', 'fields added to every request', jsonObject, {})
    .option('--header <key=value>', 'header added to every request; repeatable', keyValue, {})
    .option('--percentile-metrics <names>', `latencies to report, of ${METRICS.join(', ')}`, listOf(METRICS), ['ttft', 'tpot', 'itl'])
    .option('--metric-percentiles <ranks>', 'their percentiles', percentiles, [99])
    .option('--goodput <objective...>', 'count requests that met these, e.g. ttft:500 tpot:50 e2el:5000 (ms)', [])
    .option('--num-warmups <count>', 'requests before the measured ones', wholeNumber(0, 10_000), 0)
    .option('--ready-check-timeout-sec <seconds>', 'wait this long for a first answer; 0 does not check', wholeNumber(0), 600)
    .option('--seed <number>', 'seed of prompts and arrivals', wholeNumber(0), 0)
    .option('--label <text>', 'name of this run in the result and its file name')
    .option('--metadata <key=value...>', 'recorded in the result', [])
    .option('--save-result', 'write the result as JSON', false)
    .option('--save-detailed', 'with --save-result: every request as well', false)
    .option('--append-result', 'with --save-result: add a line to the file', false)
    .option('--result-dir <directory>', 'where to write it (default: here)')
    .option('--result-filename <name>', 'its name (default: made of load, model and date)')
    .option('--disable-tqdm', 'no progress bar', false)
    .option('--json', 'print the result as JSON instead of a table', false)
}
