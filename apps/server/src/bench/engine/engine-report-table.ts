import Table from 'cli-table3'
import type { EngineReport } from '@daybreak/engine'
import type { EngineBenchReport } from './bench-engine.ts'

const STYLE = { head: [], border: [] }

/** What was measured, and on what, for people. */
export function engineReportTable (engine: EngineReport, model: string, copyBandwidth: number | undefined, report: EngineBenchReport): string {
  const { adapter } = engine
  const bandwidth = copyBandwidth === undefined ? '' : `, copies ${gigabytes(copyBandwidth)} GB/s`
  const prefill = new Table({ head: ['prompt', 'tokens/s', 'median ms', 'min ms', 'max ms'], style: STYLE })
  for (const row of report.prefill) {
    prefill.push(row.skipped === undefined
      ? [row.promptTokens, ...right(row.tokensPerSecond.toFixed(0), row.medianMs.toFixed(2), row.minMs.toFixed(2), row.maxMs.toFixed(2))]
      : [row.promptTokens, { colSpan: 4, content: `skipped: ${row.skipped}` }])
  }
  const decode = new Table({ head: ['batch', 'context', 'tokens/s', 'ms/step', 'p99', 'device ms', 'host ms', 'weights GB/s', 'of copy'], style: STYLE })
  for (const row of report.decode) {
    const share = row.copyBandwidthShare === undefined ? '' : `${(row.copyBandwidthShare * 100).toFixed(1)} %`
    decode.push(row.skipped === undefined
      ? [row.batch, row.context, ...right(row.tokensPerSecond.toFixed(1), row.medianStepMs.toFixed(3), row.p99StepMs.toFixed(3),
          row.deviceStepMs.toFixed(3), row.hostStepMs.toFixed(3), gigabytes(row.weightBytesPerSecond), share)]
      : [row.batch, row.context, { colSpan: 7, content: `skipped: ${row.skipped}` }])
  }
  return `${model}, ${engine.dtype}, ${(engine.parameters / 1e6).toFixed(1)} M parameters, ${gigabytes(engine.weightBytes)} GB of weights\n` +
    `${adapter.name} (${adapter.backend}, ${adapter.driver}${adapter.software ? ', software' : ''})${bandwidth}\n\n` +
    `Prefill\n${prefill.toString()}\n\nDecode\n${decode.toString()}\n`
}

function gigabytes (bytes: number): string {
  return (bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1)
}

function right (...cells: readonly string[]): Array<{ readonly content: string, readonly hAlign: 'right' }> {
  return cells.map(content => ({ content, hAlign: 'right' }))
}
