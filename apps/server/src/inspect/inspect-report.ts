import type { MemoryFit, MemoryUse, ModelInspection } from '@daybreak/engine'
import type { TextFacts } from './text-facts.ts'

/** What was inspected, and where it came from. */
export interface InspectedModel {
  readonly id: string
  /** Null when no more than its headers were fetched. */
  readonly path: string | null
  /** Of all its files on the Hub, when no more than their headers were fetched. */
  readonly downloadBytes: number | null
  /** What `--kv-cache-memory` said. */
  readonly kvCacheBytes: number | null
}

/** The `--json` of `daybreak inspect`: these keys stay, what is not known or does not apply is null. */
export type InspectReport = ReturnType<typeof inspectReport>

export function inspectReport ({ id, path, downloadBytes, kvCacheBytes }: InspectedModel, inspection: ModelInspection, { tokenizer, chatTemplate }: TextFacts) {
  const { dtype, limits, kvBytesPerToken, least, most } = inspection
  return {
    id,
    path,
    downloadBytes,
    architecture: reportedArchitecture(inspection),
    weights: reportedWeights(inspection),
    tokenizer,
    chatTemplate,
    adapter: reportedAdapter(inspection),
    adapterProblem: inspection.adapterProblem ?? null,
    memory: {
      dtype,
      maxModelLen: limits.maxModelLen,
      maxNumSeqs: limits.maxSequences,
      maxNumBatchedTokens: limits.maxBatchedTokens,
      kvCacheMemory: kvCacheBytes,
      weightBytes: least.weightBytes,
      workingBytes: least.workingBytes,
      kvBytesPer1000Tokens: 1000 * kvBytesPerToken,
      least: reportedUse(least),
      most: reportedUse(most)
    },
    fit: reportedFit(inspection.fit)
  }
}

function reportedArchitecture ({ config, parameters, activeParameters }: ModelInspection) {
  const { architecture, layers, experts } = config
  const windows = layers.map(({ window }) => window).filter(window => window !== undefined)
  return {
    name: architecture,
    parameters,
    activeParameters,
    layers: layers.length,
    hiddenSize: config.hiddenSize,
    intermediateSize: config.intermediateSize,
    attentionHeads: config.numHeads,
    kvHeads: config.numKVHeads,
    headSize: config.headDim,
    vocabSize: config.vocabSize,
    tiedEmbeddings: config.tieWordEmbeddings,
    contextLength: config.maxPositionEmbeddings,
    slidingWindow: windows.length === 0 ? null : { layers: windows.length, tokens: Math.max(...windows) },
    ropeScaling: config.rotaries.map(({ scaling }) => scaling?.type).find(type => type !== undefined) ?? null,
    experts: experts === undefined
      ? null
      : { count: experts.count, perToken: experts.perToken, intermediateSize: experts.intermediateSize, layers: layers.filter(({ mlp }) => mlp === 'experts').length }
  }
}

function reportedWeights ({ formats, quantization }: ModelInspection) {
  return {
    formats: formats.map(({ format, tensors, bytes }) => ({ format, tensors, bytes })),
    quantization: quantization === undefined
      ? null
      : {
          method: quantization.method,
          bits: quantization.method === 'awq' ? 4 : quantization.bits,
          groupSize: quantization.groupSize ?? null,
          notes: quantization.method === 'compressed-tensors' ? quantization.notes : []
        }
  }
}

function reportedAdapter ({ adapter }: ModelInspection) {
  if (adapter === undefined) return null
  const { report, capabilities } = adapter
  return {
    name: report.name,
    driver: report.driver,
    software: report.software,
    computesF16: capabilities.f16,
    tensorCores: capabilities.subgroupMatrix,
    maxBindingBytes: capabilities.maxBindingBytes
  }
}

function reportedUse ({ sequences, tokensEach, kvTokens, kvBytes, totalBytes }: MemoryUse) {
  return { sequences, tokensEach, kvTokens, kvBytes, totalBytes }
}

function reportedFit (fit: MemoryFit) {
  const memory = 'memory' in fit ? fit.memory : undefined
  return {
    /** `fits`, `does-not-fit`, `unknown`. */
    verdict: fit.type,
    deviceBytes: memory?.bytes ?? null,
    /** `stated` by --device-memory, or what the `host` has free. */
    deviceBytesFrom: memory?.source ?? null,
    use: fit.type === 'fits' ? reportedUse(fit.use) : null,
    problem: fit.type === 'does-not-fit' ? fit.obstacle.message : null,
    longestContextThatFits: fit.type === 'does-not-fit' ? fit.longestContext ?? null : null
  }
}
