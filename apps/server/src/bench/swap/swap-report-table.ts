import Table from 'cli-table3'
import type { EngineReport } from '@daybreak/engine'
import { formatByteSize } from '../../cli/byte-size.ts'
import type { SwapMeasurement } from './bench-swap.ts'

const HEAD = ['context', 'blocks lie', 'size', 'recompute ms', 'out ms', 'in ms', 'out GB/s', 'in GB/s', 'swap : recompute', 'host ms out, in', 'delay ms out, in']

/** What was measured, and on what, for people. */
export function swapReportTable (engine: EngineReport, model: string, measurements: readonly SwapMeasurement[]): string {
  const { adapter } = engine
  const table = new Table({ head: HEAD, style: { head: [], border: [] } })
  for (const row of measurements) {
    const { context, arrangement, skipped, bytes, recomputeMs, outMs, inMs } = row
    table.push(skipped !== undefined
      ? [context, arrangement, { colSpan: HEAD.length - 2, content: `skipped: ${skipped}` }]
      : [context, arrangement, ...right(formatByteSize(bytes), recomputeMs.toFixed(2), outMs.toFixed(2), inMs.toFixed(2), gigabytes(bytes, outMs), gigabytes(bytes, inMs),
          ((outMs + inMs) / recomputeMs).toFixed(3), pair(row.outHostMs, row.inHostMs), pair(row.outDelayMs, row.inDelayMs))])
  }
  return `${model}, ${engine.dtype}, ${formatByteSize(engine.swapSpaceBytes)} of swap space\n` +
    `${adapter.name} (${adapter.backend}, ${adapter.driver}${adapter.software ? ', software' : ''})\n\n${table.toString()}\n`
}

const gigabytes = (bytes: number, milliseconds: number): string => (bytes / milliseconds / 1e6).toFixed(1)

const pair = (a: number, b: number): string => `${a.toFixed(2)}, ${b.toFixed(2)}`

function right (...cells: readonly string[]): Array<{ readonly content: string, readonly hAlign: 'right' }> {
  return cells.map(content => ({ content, hAlign: 'right' }))
}
