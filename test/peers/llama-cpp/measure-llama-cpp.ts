import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Candidate, Continuation, Finding, Findings, PassageScore } from './findings.ts'
import { loadNodeLlamaCpp } from './node-llama-cpp.ts'
import type { Llama, LlamaContextOptions, LlamaContextSequence, LlamaModel, NextToken, NextTokenRequest } from './node-llama-cpp.ts'
import { NUM_TOKENS } from './prompts.ts'
import type { Subject } from './subject.ts'
import { writeF32Gguf } from './write-f32-gguf.ts'

/** A way for llama.cpp to compute the model. */
interface Way {
  readonly name: string
  readonly weights: 'stored' | 'f32'
  readonly kv: 'F16' | 'F32'
  readonly flashAttention: 'auto' | boolean
}

/** Names that the report picks out. */
export const AS_IT_COMES = 'weights as stored'
export const IN_FLOATS = 'the same weights as floats'

/**
 * The first is what llama.cpp does unless told otherwise: products of quantised weights with activations rounded to 8 bits, keys and
 * values in f16. The second stores those in f32, which shows how far the first agrees with itself. The third rounds nothing: what is
 * left of a difference to it is a fault of one of the two engines.
 */
const WAYS: readonly Way[] = [
  { name: AS_IT_COMES, weights: 'stored', kv: 'F16', flashAttention: 'auto' },
  { name: 'weights as stored, f32 keys and values', weights: 'stored', kv: 'F32', flashAttention: false },
  { name: IN_FLOATS, weights: 'f32', kv: 'F32', flashAttention: false }
]

/** Of the passage, computed in one call: each comes with the logits of the whole vocabulary. */
const CHUNK = 64
const ASKED: NextTokenRequest = { token: true, options: { temperature: 0 }, logits: true }

export interface LlamaCppOptions {
  readonly threads: number
  /** For the model in floats, 14 times as large as this one in two bits a weight; removed when it has been used. */
  readonly folder: string
  readonly onProgress: (message: string) => void
}

/** Runs node-llama-cpp's prebuilt llama.cpp on the CPU. Rejects when it is not installed. */
export async function measureLlamaCpp (subject: Subject, { threads, folder, onProgress }: LlamaCppOptions): Promise<Findings> {
  const { module, version } = await loadNodeLlamaCpp()
  const llama = await module.getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, maxThreads: threads })
  const floats = join(folder, 'weights-as-floats.gguf')
  const findings: Finding[] = []
  let tokenizedOtherwise: readonly string[] = []
  try {
    onProgress('writing the weights as floats')
    await writeF32Gguf(subject.path, floats)
    for (const way of WAYS) {
      const model = await llama.loadModel({ modelPath: way.weights === 'f32' ? floats : subject.path, gpuLayers: 0 })
      tokenizedOtherwise = [...subject.prompts, subject.passage].filter(({ text, tokens }) => tokenize(model, text).join() !== tokens.join()).map(({ text }) => text)
      findings.push(await measureWay(model, way, subject, threads, onProgress))
      await model.dispose()
    }
  } finally {
    await llama.dispose()
    await rm(floats, { force: true })
  }
  return { engine: `node-llama-cpp ${version} (${releaseOf(llama)}, CPU)`, fingerprint: subject.fingerprint, tokenizedOtherwise, findings }
}

async function measureWay (model: LlamaModel, { name, kv, flashAttention }: Way, subject: Subject, threads: number, onProgress: (message: string) => void): Promise<Finding> {
  const contextSize = Math.max(subject.passage.tokens.length, ...subject.prompts.map(({ tokens }) => tokens.length + NUM_TOKENS))
  const options: LlamaContextOptions = {
    contextSize, batchSize: contextSize, threads, flashAttention, experimentalKvCacheKeyType: kv, experimentalKvCacheValueType: kv
  }
  const context = await model.createContext(options)
  const sequence = context.getSequence()
  const continuations: Continuation[] = []
  for (const { tokens } of subject.prompts) {
    onProgress(`llama.cpp, ${name}: prompt ${continuations.length + 1} of ${subject.prompts.length}`)
    await sequence.clearHistory()
    continuations.push(await continueGreedily(sequence, tokens))
  }
  onProgress(`llama.cpp, ${name}: passage`)
  await sequence.clearHistory()
  const passage = await scorePassage(sequence, subject.passage.tokens)
  await context.dispose()
  return { name, continuations, passage }
}

async function continueGreedily (sequence: LlamaContextSequence, prompt: readonly number[]): Promise<Continuation> {
  const chosen: Array<readonly [Candidate, Candidate]> = []
  let pending: readonly number[] = prompt
  while (chosen.length < NUM_TOKENS) {
    const last = pending.at(-1) ?? 0
    const results = await sequence.controlledEvaluate([...pending.slice(0, -1), [last, { generateNext: ASKED }]])
    const { token, logprobOf, mostLikely: [first = NaN, second = NaN] } = read(results.at(-1))
    if (first !== token) throw new Error(`llama.cpp sampled ${token}, and ${first} is the most likely`)
    chosen.push([[first, logprobOf(first)], [second, logprobOf(second)]])
    pending = [first]
  }
  return chosen
}

async function scorePassage (sequence: LlamaContextSequence, tokens: readonly number[]): Promise<readonly PassageScore[]> {
  const scores: PassageScore[] = []
  while (scores.length + 1 < tokens.length) {
    const chunk = tokens.slice(scores.length, Math.min(scores.length + CHUNK, tokens.length - 1))
    const results = await sequence.controlledEvaluate(chunk.map(token => [token, { generateNext: ASKED }]))
    for (const result of results) {
      const { logprobOf, mostLikely: [best = NaN] } = read(result)
      scores.push({ logprob: logprobOf(tokens[scores.length + 1] ?? NaN), best })
    }
  }
  return scores
}

/** The sum over the vocabulary is taken in float64: the package's own, in floats from the largest on, loses 1e-4 of it. */
function read (result: NextToken | undefined): { token: number | null, mostLikely: readonly number[], logprobOf: (token: number) => number } {
  if (result === undefined) throw new Error('llama.cpp gave no result for a token that asked for one')
  const { token, logits } = result.next
  const mostLikely = [...logits.keys()].slice(0, 2)
  const largest = logits.get(mostLikely[0] ?? NaN) ?? NaN
  let sum = 0
  for (const logit of logits.values()) sum += Math.exp(logit - largest)
  const logOfAll = largest + Math.log(sum)
  return { token, mostLikely, logprobOf: of => (logits.get(of) ?? NaN) - logOfAll }
}

function tokenize (model: LlamaModel, text: string): number[] {
  const { bos } = model.tokens
  return [...bos === null ? [] : [bos], ...model.tokenize(text, true)]
}

function releaseOf ({ llamaCppRelease: { release } }: Llama): string {
  return `llama.cpp ${release}`
}
