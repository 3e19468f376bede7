import { formatByteSize } from '../cli/byte-size.ts'
import { formatCount } from '../cli/format-count.ts'
import type { InspectReport } from './inspect-report.ts'
import { plural } from './plural.ts'
import { needed, verdict } from './verdict.ts'

type Row = readonly [label: string, value: string]

/** The report for people: what the model is, what it takes, and in the last line whether it fits. */
export function printedReport (report: InspectReport): string {
  const { id, path, downloadBytes } = report
  const parts = [modelRows(report), textRows(report), memoryRows(report)]
  const width = Math.max(...parts.flat().map(([label]) => label.length))
  const lines = parts.map(rows => rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}\n`).join(''))
  const place = path ?? `on the Hub, ${formatByteSize(downloadBytes ?? 0)} to download`
  return `${id} (${place})\n\n${lines.join('\n')}\n${verdict(report)}\n`
}

function modelRows ({ architecture, weights }: InspectReport): Row[] {
  const { name, parameters, activeParameters, layers, hiddenSize, attentionHeads, kvHeads, contextLength, slidingWindow, ropeScaling, experts } = architecture
  const active = experts === null ? '' : `, ${formatCount(activeParameters)} of them active`
  const window = slidingWindow === null ? '' : `; ${slidingWindow.layers} of ${layers} layers see the last ${plural(slidingWindow.tokens, 'token')}`
  return [
    ['architecture', `${name}, ${formatCount(parameters)} parameters${active}`],
    ['layers', `${layers}, ${hiddenSize} wide, ${plural(attentionHeads, 'head')} (${kvHeads} of keys and values)`],
    ...(experts === null ? [] : [['experts', `${experts.perToken} of ${experts.count} a token, in ${experts.layers} of ${layers} layers`] as const]),
    ['context', `${plural(contextLength, 'token')}${ropeScaling === null ? '' : ` (${ropeScaling} scaling)`}${window}`],
    ['stored as', weights.formats.map(({ format, tensors, bytes }) => `${format} (${plural(tensors, 'tensor')}, ${formatByteSize(bytes)})`).join(', ')],
    ...quantizationRows(weights)
  ]
}

function quantizationRows ({ quantization }: InspectReport['weights']): Row[] {
  if (quantization === null) return []
  const { method, bits, groupSize, notes } = quantization
  return [
    ['quantised', `${method}, ${bits} bits${groupSize === null ? '' : ` in groups of ${groupSize}`}`],
    ...notes.map((note): Row => ['note', note])
  ]
}

function textRows ({ tokenizer: { model, bytes, vocabSize, bos, eos }, chatTemplate }: InspectReport): Row[] {
  const token = ({ id, text }: { readonly id: number, readonly text: string | null }): string => `${text ?? 'unnamed'} (${id})`
  return [
    ['tokenizer', `${model}${bytes === 'none' ? '' : `, ${bytes}`}, ${plural(vocabSize, 'token')}`],
    ['bos, eos', `${bos === null ? 'none' : token(bos)}, ${eos.length === 0 ? 'none' : eos.map(token).join(' or ')}`],
    ['chat template', chatTemplate === null ? 'none: chats become a plain transcript' : chatTemplate.takesTools ? 'takes tools' : 'takes no tools']
  ]
}

function memoryRows ({ adapter, adapterProblem, memory }: InspectReport): Row[] {
  const { dtype, maxNumSeqs, weightBytes, workingBytes, kvBytesPer1000Tokens, least, most } = memory
  return [
    ['adapter', adapter === null ? withoutAdapter(adapterProblem) : adapterLine(adapter)],
    ['weights', `${formatByteSize(weightBytes)} in ${dtype}`],
    ['workspace', `${formatByteSize(workingBytes)}, for up to ${plural(maxNumSeqs, 'sequence')} a step`],
    ['KV cache', `${formatByteSize(kvBytesPer1000Tokens)} per 1,000 tokens`],
    ['together', least.totalBytes === most.totalBytes ? needed(least) : `${needed(least)}, ${formatByteSize(most.totalBytes)} for ${most.sequences}`]
  ]
}

function adapterLine ({ name, software, computesF16, tensorCores }: NonNullable<InspectReport['adapter']>): string {
  if (software) return `${name}: software, on the CPU`
  return `${name}: ${computesF16 ? tensorCores ? 'f16, tensor cores' : 'f16' : 'f32'}`
}

function withoutAdapter (problem: string | null): string {
  const assumed = 'one that computes in f16 is assumed'
  return problem === null ? `not asked; ${assumed}` : `${assumed}, since ${problem}`
}
