import { formatByteSize } from '../cli/byte-size.ts'
import type { InspectReport } from './inspect-report.ts'
import { plural } from './plural.ts'

/** Whether a model fits, with what, and what to change where it does not: one line. */
export function verdict (report: InspectReport): string {
  const { fit, memory } = report
  if (fit.use !== null) return fitting(report, fit.use)
  if (fit.verdict === 'unknown') return `needs ${needed(memory.least)}; --device-memory SIZE says whether that fits, since WebGPU does not tell how much a GPU has`
  const tooLittle = fit.deviceBytes !== null && memory.least.totalBytes > fit.deviceBytes
  if (!tooLittle) return `does not fit: ${fit.problem ?? ''}`
  return `does not fit in ${memoryOf(report)}: ${remedy(report, fit.deviceBytes ?? 0)}`
}

function fitting (report: InspectReport, use: InspectReport['memory']['least']): string {
  const { adapter, memory } = report
  const cut = use.tokensEach < memory.maxModelLen ? ` (the KV cache holds no more; the context is ${plural(memory.maxModelLen, 'token')})` : ''
  const shorter = use.kvTokens > use.sequences * use.tokensEach ? `, or ${plural(use.kvTokens, 'token')} in shorter ones` : ''
  return `fits: ${plural(use.sequences, 'sequence')} of ${plural(use.tokensEach, 'token')}${cut}${shorter}${adapter === null ? '' : ` on ${adapter.name}`}, ` +
    `in ${formatByteSize(use.totalBytes)} of ${memoryOf(report)}`
}

function memoryOf ({ fit: { deviceBytes, deviceBytesFrom } }: InspectReport): string {
  return `${formatByteSize(deviceBytes ?? 0)}${deviceBytesFrom === 'host' ? ' that this machine has free' : ''}`
}

function remedy ({ fit: { longestContextThatFits }, memory }: InspectReport, deviceBytes: number): string {
  const { weightBytes, kvCacheMemory, least } = memory
  if (weightBytes > deviceBytes) return `the weights alone take ${formatByteSize(weightBytes)}`
  if (kvCacheMemory !== null) return `needs ${needed(least)}; try a smaller --kv-cache-memory`
  if (longestContextThatFits === null) return `needs ${needed(least)}; try a smaller --max-num-seqs or --max-num-batched-tokens`
  return `needs ${needed(least)}; try --max-model-len ${longestContextThatFits}`
}

/** `3.4 GiB for 1 sequence of 32,768 tokens`. */
export function needed ({ totalBytes, sequences, tokensEach }: InspectReport['memory']['least']): string {
  return `${formatByteSize(totalBytes)} for ${plural(sequences, 'sequence')} of ${plural(tokensEach, 'token')}`
}
