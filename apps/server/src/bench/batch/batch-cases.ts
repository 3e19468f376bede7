import type { PromptTokens } from '@daybreak/scheduler'
import { batchPrompts } from './batch-workload.ts'
import { reusableShare } from './reusable-share.ts'
import { readTrace } from './trace-workload.ts'

/** One batch under one size of cache. */
export interface BatchCase {
  /** How it differs from the others; empty where there is only one. */
  readonly name: string
  readonly prompts: readonly PromptTokens[]
  /** Tokens that each prompt generates. */
  readonly outputTokens: readonly number[]
  /** Blocks of the KV cache; undefined: all that the engine has. */
  readonly kvBlocks: number | undefined
  /** Share of prompt tokens that an infinite cache would save. */
  readonly bestSavedShare: number
}

export interface BatchCaseFlags {
  readonly prompts: number
  readonly degree: readonly number[]
  readonly meanDegree?: number
  readonly prefix: number
  readonly distinct: number
  readonly output: number
  readonly trace?: string
  readonly context: number
  readonly kvBlocks?: readonly number[]
  readonly blockSize: number
  readonly seed: number
}

/** Longest sequence of any case. */
export function longestSequence ({ trace, context, prefix, distinct, output }: BatchCaseFlags): number {
  return trace === undefined ? prefix + distinct + output : context
}

/** A trace's, or those of every degree, under every size of cache. */
export async function batchCases (flags: BatchCaseFlags, vocabSize: number): Promise<BatchCase[]> {
  const workloads = flags.trace === undefined ? syntheticWorkloads(flags, vocabSize) : [{ name: '', ...await readTrace(flags.trace, flags.context, vocabSize) }]
  const sizes = flags.kvBlocks ?? [undefined]
  return workloads.flatMap(({ name, prompts, outputTokens }) => {
    const bestSavedShare = reusableShare(prompts, flags.blockSize)
    return sizes.map(kvBlocks => ({
      name: [name, sizes.length > 1 ? `${kvBlocks?.toLocaleString('en') ?? 'all'} blocks` : ''].filter(part => part !== '').join(', '),
      prompts,
      outputTokens,
      kvBlocks,
      bestSavedShare
    }))
  })
}

function syntheticWorkloads ({ prompts: numPrompts, degree, meanDegree, prefix, distinct, output, seed }: BatchCaseFlags, vocabSize: number): Array<Pick<BatchCase, 'name' | 'prompts' | 'outputTokens'>> {
  const degrees = meanDegree === undefined ? degree.map(value => ({ type: 'fixed', value }) as const) : [{ type: 'mean', value: meanDegree } as const]
  return degrees.map(degree => ({
    name: degrees.length > 1 ? `degree ${degree.value}` : '',
    prompts: batchPrompts({ numPrompts, degree, prefixTokens: prefix, distinctTokens: distinct, seed }, vocabSize),
    outputTokens: new Array<number>(numPrompts).fill(output)
  }))
}
