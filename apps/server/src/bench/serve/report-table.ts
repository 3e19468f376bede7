import Table from 'cli-table3'
import type { Metric, ServingReport } from './serving-report.ts'

const METRIC_TITLES: Readonly<Record<Metric, string>> = Object.freeze({
  ttft: 'TTFT, first chunk (ms)',
  firsttext: 'TTFT, first text (ms)',
  tpot: 'TPOT, after the first (ms)',
  itl: 'ITL, every gap (ms)',
  e2el: 'E2EL, whole request (ms)'
})

/** The report as two tables: totals, and one row per latency. */
export function reportTable (report: ServingReport, metrics: readonly Metric[], percentiles: readonly number[]): string {
  const totals = new Table({ style: { head: [], border: [] } })
  const row = (title: string, key: string, digits: number): void => { totals.push([title, printed(report[key], digits)]) }
  row('Successful requests', 'completed', 0)
  row('Failed requests', 'failed', 0)
  row('Duration (s)', 'duration', 2)
  row('Input tokens', 'total_input_tokens', 0)
  row('Output tokens', 'total_output_tokens', 0)
  row('Requests per second', 'request_throughput', 2)
  if (report['request_goodput'] !== null) row('Requests per second within objectives', 'request_goodput', 2)
  row('Output tokens per second', 'output_throughput', 2)
  row('Peak output tokens in a second', 'max_output_tokens_per_s', 0)
  row('Total tokens per second', 'total_token_throughput', 2)
  row('Peak concurrent requests', 'max_concurrent_requests', 0)

  const latencies = new Table({ head: ['', 'mean', 'median', 'std', ...percentiles.map(rank => `p${rank}`)], style: { head: [], border: [] } })
  for (const metric of metrics) {
    const keys = ['mean', 'median', 'std', ...percentiles.map(rank => `p${rank}`)].map(name => `${name}_${metric}_ms`)
    latencies.push([METRIC_TITLES[metric], ...keys.map(key => ({ content: printed(report[key], 2), hAlign: 'right' as const }))])
  }
  return `${totals.toString()}\n${latencies.toString()}\n`
}

function printed (value: unknown, digits: number): string {
  return typeof value === 'number' ? value.toFixed(digits) : String(value)
}
