import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** What is used of node-llama-cpp 3.22, written out so that the repository's type check does without the package. */
export interface NodeLlamaCpp {
  getLlama (options: { gpu: false, build: 'never', skipDownload: true, progressLogs: false, maxThreads: number }): Promise<Llama>
}

export interface Llama {
  readonly llamaCppRelease: { readonly repo: string, readonly release: string }
  loadModel (options: { modelPath: string, gpuLayers: 0 }): Promise<LlamaModel>
  dispose (): Promise<void>
}

export interface LlamaModel {
  readonly tokens: { readonly bos: number | null }
  /** Adds no `<s>`. `true`: a special token's name is that token. */
  tokenize (text: string, specialTokens: true): number[]
  createContext (options: LlamaContextOptions): Promise<LlamaContext>
  dispose (): Promise<void>
}

export interface LlamaContextOptions {
  readonly contextSize: number
  readonly batchSize: number
  readonly threads: number
  readonly flashAttention: 'auto' | boolean
  readonly experimentalKvCacheKeyType: 'F16' | 'F32'
  readonly experimentalKvCacheValueType: 'F16' | 'F32'
}

export interface LlamaContext {
  getSequence (): LlamaContextSequence
  dispose (): Promise<void>
}

export interface LlamaContextSequence {
  clearHistory (): Promise<void>
  /** Computes tokens behind those before; says of each that asks what comes after it. */
  controlledEvaluate (input: readonly EvaluatedToken[]): Promise<ReadonlyArray<NextToken | undefined>>
}

export type EvaluatedToken = number | [token: number, { readonly generateNext: NextTokenRequest }]

export interface NextTokenRequest {
  /** Samples a token: at temperature 0, with no penalties unless asked for, the argmax. */
  readonly token: true
  readonly options: { readonly temperature: 0 }
  readonly logits: true
}

export interface NextToken {
  readonly next: {
    readonly token: number | null
    /** Of the whole vocabulary, the largest first. */
    readonly logits: ReadonlyMap<number, number>
  }
}

const PACKAGE: string = 'node-llama-cpp'

/** The installed package and its version. Rejects with what to run where it is not installed. */
export async function loadNodeLlamaCpp (): Promise<{ readonly module: NodeLlamaCpp, readonly version: string }> {
  try {
    const module: NodeLlamaCpp = await import(PACKAGE)
    const main = createRequire(import.meta.url).resolve(PACKAGE)
    const { version } = JSON.parse(await readFile(join(dirname(main), '..', 'package.json'), 'utf8'))
    return { module, version: String(version) }
  } catch (cause) {
    throw new Error(`${PACKAGE} is not installed: npm run setup in ${import.meta.dirname}`, { cause })
  }
}
