import Table from 'cli-table3'
import type { AdapterReport, KernelBenchReport, KernelCeilings, KernelKind, KernelMeasurement } from '@daybreak/engine'
import { KERNEL_KINDS } from './kernel-bench-plan.ts'
import { kernelLimits } from './kernel-limits.ts'

const STYLE = { head: [], border: [] }

const TITLES: Readonly<Record<KernelKind, string>> = {
  linear: 'Products with weights',
  attention: 'Attention',
  rowwise: 'Row by row',
  sampling: 'Sampling'
}

/** What says which kernel at which size, by kind. */
const NAMES: Readonly<Record<KernelKind, Readonly<Record<string, (row: KernelMeasurement) => string | number>>>> = {
  linear: { product: row => row.label, 'outputs × inputs': ({ weight }) => weight === undefined ? '' : `${weight.outputs} × ${weight.inputs}`, rows: row => row.rows },
  attention: { kernel: row => row.label, rows: row => row.rows, context: row => row.context ?? '', window: row => row.window ?? '', shared: ({ shared }) => shared === undefined ? '' : `${shared.keys} by ${shared.degree}, ${shared.together ? 'together' : 'apart'}` },
  rowwise: { kernel: row => row.label, rows: row => row.rows },
  sampling: { kernel: row => row.label, rows: row => row.rows }
}

const MEASURED = ['µs', 'min', 'max', 'GB/s', 'of copy', 'TFLOP/s', 'of peak', 'limit', '× floor', 'variant']

/** Every kernel against what limits it, and the limits, for people. */
export function kernelsReportTable (adapter: AdapterReport, shape: string, report: KernelBenchReport): string {
  const { ceilings, kernels, notes } = report
  const tables = KERNEL_KINDS.map(kind => ({ kind, rows: kernels.filter(row => row.kind === kind) })).filter(({ rows }) => rows.length > 0)
  return `${shape}, ${report.dtype}, rows multiplied as ${report.activation}\n` +
    `${adapter.name} (${adapter.backend}, ${adapter.driver}${adapter.software ? ', software' : ''})\n` +
    `copies ${gigabytes(ceilings.copyBytesPerSecond)} GB/s, ` +
    `best product ${teraflops(ceilings.productFlopsPerSecond)} TFLOP/s (${ceilings.productSize}³, ${ceilings.productKernel}), ` +
    (ceilings.int8 === undefined ? '' : `int8 ${teraflops(ceilings.int8.opsPerSecond)} TOP/s (${ceilings.int8.size}³, ${ceilings.int8.kernel}), `) +
    `dependent dispatch ${microseconds(ceilings.dispatchSeconds)} µs\n\n` +
    tables.map(({ kind, rows }) => `${TITLES[kind]}\n${tableOf(kind, rows, ceilings)}\n`).join('\n') +
    '\nµs: median of five, and their spread. × floor: measured over what the limit alone would take, which is the longest of bytes at the speed of a\n' +
    'copy, operations at the rate of the best product, and a dependent dispatch. Operands and results are counted once; weights, keys and values\n' +
    'come from memory, activations from a cache where they fit, as in a step, so that what moves only those may be below its floor.\n' +
    notes.map(note => `Note: ${note}.\n`).join('')
}

function tableOf (kind: KernelKind, rows: readonly KernelMeasurement[], ceilings: KernelCeilings): string {
  const names = Object.entries(NAMES[kind])
  const table = new Table({ head: [...names.map(([name]) => name), ...MEASURED], style: STYLE })
  // Those that normalise on the way are called `qkv normed`, and stand with `qkv`.
  const place = ({ label }: KernelMeasurement): string => label.split(' ', 1)[0] ?? ''
  const places = [...new Set(rows.map(place))]
  for (const row of rows.toSorted((a, b) => places.indexOf(place(a)) - places.indexOf(place(b)))) {
    const named = names.map(([, cell]) => cell(row))
    table.push(row.skipped === undefined
      ? [...named, ...measured(row, ceilings)]
      : [...named, { colSpan: MEASURED.length, content: `skipped: ${row.skipped}` }])
  }
  return table.toString()
}

function measured (row: KernelMeasurement, ceilings: KernelCeilings): Array<string | { readonly content: string, readonly hAlign: 'right' }> {
  const limits = kernelLimits(row, ceilings)
  const moves = row.bytes === 0 ? ['', ''] : [gigabytes(limits.bytesPerSecond), percent(limits.copyShare)]
  const computes = row.flops === 0 ? ['', ''] : [teraflops(limits.flopsPerSecond), percent(limits.peakShare)]
  const right = [microseconds(row.seconds), microseconds(row.minSeconds), microseconds(row.maxSeconds), ...moves, ...computes].map(content => ({ content, hAlign: 'right' as const }))
  return [...right, limits.limit, { content: limits.overFloor.toFixed(2), hAlign: 'right' }, row.kernel]
}

function microseconds (seconds: number): string {
  return (seconds * 1e6).toFixed(1)
}

function gigabytes (bytes: number): string {
  return (bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1)
}

function teraflops (flops: number): string {
  return (flops / 1e12).toFixed(flops < 1e12 ? 4 : 1)
}

function percent (share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
