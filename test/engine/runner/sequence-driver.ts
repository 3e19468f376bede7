import { blockId, blocksFor, sequenceId } from '@daybreak/kvcache'
import type { BlockId, SequenceId, TokenId } from '@daybreak/kvcache'
import type { ForwardBatch, ForwardSequence, ModelRunner, SampledToken, SamplingParams, ScoredToken, StepResult } from '@daybreak/engine/contract'
import { SeededRandom } from '../../fakes/seeded-random.ts'

export const greedy: SamplingParams = {
  temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1, logitBias: [], numLogprobs: undefined
}

export interface DrivenRequest {
  readonly name: string
  readonly prompt: readonly TokenId[]
  readonly maxNewTokens: number
  readonly stopTokens?: readonly TokenId[]
  readonly sampling?: SamplingParams
  /** Alternatives to report with the score of every prompt token but the first; undefined asks for no scores. */
  readonly promptScores?: number
}

export interface DrivenResult {
  readonly sampled: readonly SampledToken[]
  readonly scored: readonly ScoredToken[]
}

/** How the same requests are cut into steps. None of it may change a bit of a result. */
export interface Schedule {
  /** Most prompt tokens of one sequence in a step. */
  readonly chunk: number
  /** Request i joins at step i · `stagger`; 0: all at once. */
  readonly stagger: number
  /** Steps submitted before the first of them is awaited. Above 1, decodes read their token on the device. */
  readonly inFlight: number
  readonly seed: number
}

interface Running {
  readonly request: DrivenRequest
  readonly id: SequenceId
  readonly stateRow: number
  readonly blockTable: readonly BlockId[]
  /** Positions handed to the runner. */
  computed: number
  /** Tokens asked of the runner, known or not. */
  asked: number
  finished: boolean
  readonly sampled: SampledToken[]
  readonly scored: ScoredToken[]
}

/**
 * Drives requests through a runner as a scheduler would, with no scheduler: state rows and shuffled blocks are handed out and taken
 * back here, so a test decides how prompts are cut and who shares a step. Step numbers go on from one run to the next.
 */
export class SequenceDriver {
  readonly #runner: ModelRunner
  #step = 0

  constructor (runner: ModelRunner) {
    this.#runner = runner
  }

  execute (sequences: readonly ForwardSequence[], moves: ForwardBatch['moves'] = []): Promise<StepResult> {
    return this.#runner.execute({ step: this.#step++, sequences, moves })
  }

  /** Runs all requests to their end; results by name. */
  async run (requests: readonly DrivenRequest[], schedule: Schedule): Promise<ReadonlyMap<string, DrivenResult>> {
    const { maxSequences, numKVBlocks, blockSize } = this.#runner.limits
    const random = new SeededRandom(schedule.seed)
    const freeBlocks = random.shuffled(Array.from({ length: numKVBlocks }, (_, block) => blockId(block)))
    const freeRows = random.shuffled(Array.from({ length: maxSequences }, (_, row) => row))
    const waiting = requests.map((request, i) => ({ request, from: i * schedule.stagger }))
    const running: Running[] = []
    const results = new Map<string, DrivenResult>()
    const pending: Array<{ readonly batch: readonly Running[], readonly result: Promise<StepResult> }> = []

    const absorb = async (): Promise<void> => {
      const step = pending.shift()
      if (step === undefined) return
      const { sampled, scored } = await step.result
      for (const sequence of step.batch) {
        sequence.scored.push(...scored.get(sequence.id) ?? [])
        const token = sampled.find(({ id }) => id === sequence.id)
        if (token === undefined || sequence.finished) continue
        sequence.sampled.push(token)
        const { maxNewTokens, stopTokens = [] } = sequence.request
        if (sequence.sampled.length < maxNewTokens && !stopTokens.includes(token.token)) continue
        sequence.finished = true
        results.set(sequence.request.name, { sampled: sequence.sampled, scored: sequence.scored })
        running.splice(running.indexOf(sequence), 1)
        freeBlocks.unshift(...sequence.blockTable)
        freeRows.push(sequence.stateRow)
      }
    }

    for (let now = 0; results.size < requests.length; now++) {
      for (let next = waiting[0]; next !== undefined && next.from <= now; next = waiting[0]) {
        const needed = blocksFor(next.request.prompt.length + next.request.maxNewTokens, blockSize)
        const stateRow = freeBlocks.length < needed ? undefined : freeRows.pop()
        if (stateRow === undefined) break
        waiting.shift()
        running.push({ request: next.request, id: sequenceId(next.request.name), stateRow, blockTable: freeBlocks.splice(0, needed), computed: 0, asked: 0, finished: false, sampled: [], scored: [] })
      }
      const batch = this.#plan(running, schedule)
      if (batch.length > 0) pending.push({ batch: batch.map(({ sequence }) => sequence), result: this.execute(batch.map(({ forward }) => forward)) })
      if (batch.length === 0 || pending.length >= schedule.inFlight) await absorb()
    }
    while (pending.length > 0) await absorb()
    return results
  }

  #plan (running: readonly Running[], { chunk, inFlight }: Schedule): Array<{ sequence: Running, forward: ForwardSequence }> {
    const { maxBatchedTokens, maxLogitRows } = this.#runner.limits
    let tokensLeft = maxBatchedTokens
    let rowsLeft = maxLogitRows - running.length
    const batch: Array<{ sequence: Running, forward: ForwardSequence }> = []
    for (const sequence of running) {
      const { prompt, maxNewTokens, sampling = greedy, promptScores } = sequence.request
      const inPrompt = sequence.computed < prompt.length
      const most = Math.min(chunk, tokensLeft, promptScores === undefined ? Infinity : rowsLeft)
      const tokens = inPrompt ? prompt.slice(sequence.computed, sequence.computed + most) : undefined
      if (tokens?.length === 0 || tokensLeft === 0 || (!inPrompt && sequence.asked >= maxNewTokens)) continue
      const startPosition = sequence.computed
      sequence.computed += tokens?.length ?? 1
      tokensLeft -= tokens?.length ?? 1
      const draws = sequence.computed >= prompt.length
      const scoreTargets = inPrompt && promptScores !== undefined ? prompt.slice(startPosition + 1, sequence.computed + 1) : undefined
      rowsLeft -= scoreTargets?.length ?? 0
      // One step at a time the host knows the token and says it; with steps in flight only the device does.
      const known = sequence.sampled.at(-1)?.token
      const usesPenalties = sampling.presencePenalty !== 0 || sampling.frequencyPenalty !== 0 || sampling.repetitionPenalty !== 1
      if (draws) sequence.asked++
      batch.push({
        sequence,
        forward: {
          id: sequence.id,
          stateRow: sequence.stateRow,
          tokens: inPrompt ? tokens : inFlight > 1 || known === undefined ? undefined : [known],
          startPosition,
          blockTable: sequence.blockTable,
          sampling: draws ? sampling : undefined,
          history: startPosition === 0 && usesPenalties ? { promptTokens: prompt, outputTokens: [] } : undefined,
          scoreTargets,
          numScoreLogprobs: scoreTargets === undefined ? undefined : promptScores
        }
      })
    }
    return batch
  }
}
