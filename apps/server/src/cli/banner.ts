import type { EngineReport } from '@daybreak/engine'
import type { EngineCapacity } from '../generation/generation-service.ts'
import { formatByteSize } from './byte-size.ts'
import { formatCount } from './format-count.ts'

export interface BannerFacts {
  readonly model: string
  readonly address: string
  readonly capacity: EngineCapacity
  readonly report: EngineReport
  /** From listening to ready. */
  readonly readySeconds: number
}

/** What the server tells its operator once, when it is ready: what runs, on what, with how much room, and how to try it. */
export function banner ({ model, address, capacity, report, readySeconds }: BannerFacts): string {
  const { adapter } = report
  const tokens = capacity.numKVBlocks * capacity.blockSize
  const rows: ReadonlyArray<readonly [string, string]> = [
    ['model', `${model} (${report.architecture}, ${formatCount(report.parameters)} parameters, ${formatByteSize(report.weightBytes)})`],
    ['adapter', adapter.software ? `${adapter.name}: software, on the CPU, for trying things out` : adapter.name],
    ['dtype', dtypeOf(report)],
    ...report.notes.length === 0 ? [] : [['note', report.notes.join('; ')] as const],
    ['KV cache', `${capacity.numKVBlocks} blocks × ${capacity.blockSize} = ${tokens.toLocaleString('en')} tokens, ${formatByteSize(report.kvCacheBytes)}`],
    ['context', `${capacity.maxModelLen.toLocaleString('en')} tokens, up to ${capacity.maxSequences} sequences a step`],
    ['ready in', `${readySeconds.toFixed(1)} s`],
    ['address', address]
  ]
  const width = Math.max(...rows.map(([label]) => label.length))
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Tell me a story about a dog.' }] })
  return [
    '',
    '  Daybreak is ready',
    ...rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`),
    '',
    `  curl ${address}/v1/chat/completions -H 'content-type: application/json' \\`,
    `    -d '${body.replaceAll("'", "'\\''")}'`,
    '',
    ''
  ].join('\n')
}

/** `f16`, or what the files held and what it became: `f16, from Q4_K (94 %), F32`. */
function dtypeOf ({ dtype, weightFormats }: EngineReport): string {
  const [main, ...others] = weightFormats
  if (main === undefined || (others.length === 0 && main.format.toLowerCase() === dtype)) return dtype
  const bytes = weightFormats.reduce((sum, format) => sum + format.bytes, 0)
  const share = others.length === 0 ? '' : ` (${Math.floor(100 * main.bytes / bytes)} % of the bytes)`
  return `${dtype}, from ${[`${main.format}${share}`, ...others.map(({ format }) => format)].join(', ')}`
}
