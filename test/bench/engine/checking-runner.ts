import type { ForwardBatch, ForwardSequence, ModelRunner, RunnerLimits, StepResult } from '@daybreak/engine/contract'

export const LIMITS: RunnerLimits = {
  maxBatchedTokens: 64,
  maxSequences: 8,
  maxLogitRows: 16,
  maxModelLen: 256,
  numKVBlocks: 64,
  blockSize: 16,
  vocabSize: 100
}

/**
 * A runner that holds its caller to the contract: step numbers, positions without gaps, blocks of its own for every sequence, token
 * feedback only after a sampled token. Each step takes `stepSeconds` of its own clock; results resolve in order, late.
 */
export class CheckingRunner implements ModelRunner {
  readonly limits: RunnerLimits
  readonly batches: ForwardBatch[] = []
  mostInFlight = 0
  /** Rejects this step. */
  failsAt = Infinity
  readonly #stepSeconds: (batch: ForwardBatch) => number
  readonly #computed = new Map<number, number>()
  readonly #hasSampled = new Set<number>()
  #inFlight = 0
  #clock = 0
  #previous: Promise<unknown> = Promise.resolve()

  constructor (limits: RunnerLimits = LIMITS, stepSeconds: (batch: ForwardBatch) => number = () => 0.01) {
    this.limits = limits
    this.#stepSeconds = stepSeconds
  }

  /** Time as far as results have come. */
  now = (): number => this.#clock

  execute (batch: ForwardBatch): Promise<StepResult> {
    this.#check(batch)
    this.batches.push(batch)
    this.mostInFlight = Math.max(this.mostInFlight, ++this.#inFlight)
    const result = this.#previous.then(async () => {
      await new Promise(resolve => setImmediate(resolve))
      this.#inFlight--
      if (batch.step >= this.failsAt) throw new Error('device lost')
      const deviceSeconds = this.#stepSeconds(batch)
      this.#clock += deviceSeconds
      const sampled = batch.sequences.filter(({ sampling }) => sampling !== undefined).map(({ id }) => ({ id, token: 1, logprob: 0, topLogprobs: undefined }))
      return { sampled, scored: new Map(), deviceSeconds, hostSeconds: 0.001 }
    })
    this.#previous = result.catch(() => {})
    return result
  }

  async [Symbol.asyncDispose] (): Promise<void> {}

  #check (batch: ForwardBatch): void {
    const broken = (what: string): never => { throw new Error(`step ${batch.step}: ${what}`) }
    if (batch.step !== this.batches.length) broken('out of order')
    const owners = new Map<number, string>()
    let numTokens = 0
    for (const sequence of batch.sequences) {
      numTokens += sequence.tokens?.length ?? 1
      this.#checkSequence(sequence, broken)
      for (const block of sequence.blockTable) {
        if (block < 0 || block >= this.limits.numKVBlocks) broken(`block ${block} does not exist`)
        if (owners.has(block)) broken(`block ${block} belongs to ${owners.get(block)} and ${sequence.id}`)
        owners.set(block, sequence.id)
      }
    }
    if (numTokens === 0 || numTokens > this.limits.maxBatchedTokens) broken(`${numTokens} tokens`)
    if (new Set(batch.sequences.map(({ stateRow }) => stateRow)).size !== batch.sequences.length) broken('two sequences in one row')
  }

  #checkSequence ({ tokens, startPosition, blockTable, sampling, stateRow }: ForwardSequence, broken: (what: string) => never): void {
    const numTokens = tokens?.length ?? 1
    const end = startPosition + numTokens
    if (stateRow < 0 || stateRow >= this.limits.maxSequences) broken(`row ${stateRow}`)
    if (startPosition !== 0 && startPosition !== this.#computed.get(stateRow)) broken(`row ${stateRow} jumps to ${startPosition}`)
    if (tokens === undefined && (!this.#hasSampled.has(stateRow) || startPosition === 0)) broken(`row ${stateRow} has no token to feed back`)
    if (tokens?.some(token => token < 0 || token >= this.limits.vocabSize) === true) broken('no such token')
    if (end > blockTable.length * this.limits.blockSize || end > this.limits.maxModelLen) broken(`row ${stateRow} outgrows its blocks`)
    this.#computed.set(stateRow, end)
    if (sampling === undefined) this.#hasSampled.delete(stateRow)
    else this.#hasSampled.add(stateRow)
  }
}
