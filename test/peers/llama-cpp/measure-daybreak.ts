import { openEngine } from '@daybreak/engine'
import type { Engine, EngineOptions, TokenLogprob } from '@daybreak/engine'
import { SequenceDriver, greedy } from '../../engine/runner/sequence-driver.ts'
import type { DrivenRequest, DrivenResult, Schedule } from '../../engine/runner/sequence-driver.ts'
import type { Candidate, Continuation, Findings } from './findings.ts'
import { NUM_TOKENS } from './prompts.ts'
import type { Subject } from './subject.ts'

export interface DaybreakOptions {
  readonly dtype: EngineOptions['dtype']
  readonly adapter: string | undefined
  readonly onProgress: (message: string) => void
}

/** Tokens of one sequence in a step; as many rows of logits the engine has for scores. */
const CHUNK = 32
const PASSAGE = 'passage'

/**
 * Runs Daybreak's engine in this process. All prompts decode together, token by token, as a server would have them: a software
 * adapter has as much to multiply as in a prefill of what llama.cpp said, and this way the tokens are its own.
 */
export async function measureDaybreak (subject: Subject, { dtype, adapter, onProgress }: DaybreakOptions): Promise<Findings> {
  const longest = Math.max(subject.passage.tokens.length, ...subject.prompts.map(({ tokens }) => tokens.length + NUM_TOKENS)) + 1
  const engine = await openEngine({
    model: { type: 'gguf', path: subject.path },
    dtype,
    adapter,
    debug: false,
    blockSize: 16,
    kvCacheBytes: undefined,
    maxModelLen: longest,
    maxSequences: subject.prompts.length,
    // Warming up computes up to so many tokens with every kernel, which a software adapter takes minutes for.
    maxBatchedTokens: 2 * CHUNK,
    onProgress: ({ stage, done, total, detail }) => { onProgress(`Daybreak, ${stage}: ${detail}${total > 0 ? ` (${Math.round(100 * done / total)} %)` : ''}`) }
  })
  try {
    const names = subject.prompts.map((_, i) => `prompt ${i}`)
    const prompts = await drive(engine, onProgress, subject.prompts.map(({ tokens }, i) => ({
      name: names[i] ?? '', prompt: tokens, maxNewTokens: NUM_TOKENS, sampling: { ...greedy, numLogprobs: 2 }
    })))
    const passages = await drive(engine, onProgress, [{ name: PASSAGE, prompt: subject.passage.tokens, maxNewTokens: 1, promptScores: 1 }])
    const { name, software } = engine.report.adapter
    return {
      engine: `Daybreak, ${engine.report.dtype} on ${name}${software ? ' (CPU)' : ''}`,
      fingerprint: subject.fingerprint,
      tokenizedOtherwise: [],
      findings: [{
        name: engine.report.dtype,
        continuations: names.map(name => continuationOf(prompts.get(name))),
        passage: passages.get(PASSAGE)?.scored.map(({ logprob, topLogprobs }) => ({ logprob, best: topLogprobs[0]?.token ?? -1 })) ?? []
      }]
    }
  } finally {
    await engine.runner[Symbol.asyncDispose]()
  }
}

async function drive ({ runner }: Engine, onProgress: DaybreakOptions['onProgress'], requests: readonly DrivenRequest[]): Promise<ReadonlyMap<string, DrivenResult>> {
  const schedule: Schedule = { chunk: CHUNK, stagger: 0, inFlight: 1, seed: 1 }
  const reporting: Engine['runner'] = {
    limits: runner.limits,
    execute: async batch => {
      const result = await runner.execute(batch)
      const position = Math.max(...batch.sequences.map(({ startPosition, tokens }) => startPosition + (tokens?.length ?? 1)))
      onProgress(`Daybreak, ${requests.length === 1 ? PASSAGE : 'prompts'}: position ${position}, ${result.deviceSeconds.toFixed(1)} s`)
      return result
    },
    [Symbol.asyncDispose]: () => runner[Symbol.asyncDispose]()
  }
  return await new SequenceDriver(reporting).run(requests, schedule)
}

function continuationOf (result: DrivenResult | undefined): Continuation {
  return (result?.sampled ?? []).map(({ token, topLogprobs = [] }) => {
    const [first, second] = topLogprobs.map(candidateOf)
    if (first === undefined || second === undefined || first[0] !== token) throw new Error(`Daybreak sampled ${token}, and ${first?.[0]} is the most likely`)
    return [first, second]
  })
}

function candidateOf ({ token, logprob }: TokenLogprob): Candidate {
  return [token, logprob]
}
