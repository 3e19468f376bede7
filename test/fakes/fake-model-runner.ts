import assert from 'node:assert/strict'
import type {
  ForwardBatch, ForwardSequence, HostTier, ModelRunner, RunnerLimits, SampledToken, ScoredToken, StepResult, TokenHistory
} from '@daybreak/engine/contract'
import type { HostSlot, SequenceId, TokenId } from '@daybreak/kvcache'
import { FakeKVMemory } from './fake-kv-memory.ts'
import { carriesPenalty, sampledToken, scoredToken } from './fake-model.ts'

export const fakeLimits: RunnerLimits = {
  maxBatchedTokens: 64,
  maxSequences: 8,
  maxLogitRows: 16,
  maxModelLen: 256,
  numKVBlocks: 64,
  blockSize: 4,
  vocabSize: 1000
}

/** The engine's state of one row, as the sequence that owns it left it. */
interface StateRow {
  readonly owner: SequenceId
  nextPosition: number
  lastToken: TokenId | undefined
  history: { readonly promptTokens: readonly TokenId[], readonly outputTokens: TokenId[] } | undefined
}

/**
 * Runs the fake model exactly as the contract describes a device, and fails on any batch that breaks the contract. Tokens are
 * read back through the block tables, so a block given to the wrong sequence changes what is generated.
 */
export class FakeModelRunner implements ModelRunner {
  readonly limits: RunnerLimits
  readonly hostTier: HostTier | undefined
  /** What a computed token and a swapped block take. */
  tokenSeconds = 0
  blockSeconds = 0
  readonly #memory: FakeKVMemory
  readonly #rows = new Map<number, StateRow>()
  /** Tokens each sequence must have, by position: its prompt if told, and whatever was sampled for it. */
  readonly #expected = new Map<SequenceId, TokenId[]>()
  /** Slots being written, and the step that does it: its result has not come. */
  readonly #unfilled = new Map<HostSlot, number>()
  readonly #respond: (result: StepResult) => Promise<StepResult>
  #numSteps = 0

  /** @param respond when and how a step resolves; at once unless given */
  constructor (limits: Partial<RunnerLimits> = {}, respond: (result: StepResult) => Promise<StepResult> = async result => result, hostTier: Pick<HostTier, 'numSlots' | 'groupSize'> = { numSlots: 0, groupSize: 1 }) {
    this.limits = { ...fakeLimits, ...limits }
    this.hostTier = hostTier.numSlots === 0 ? undefined : { ...hostTier, blockSeconds: 1e-6 }
    this.#memory = new FakeKVMemory(this.limits.numKVBlocks, this.limits.blockSize)
    this.#respond = respond
  }

  /** Tells which prompt a sequence has, to be compared with what its blocks hold. */
  expectPrompt (id: SequenceId, promptTokens: readonly TokenId[]): void {
    this.#expected.set(id, [...promptTokens])
  }

  async execute (batch: ForwardBatch): Promise<StepResult> {
    const result = await this.#respond(this.forward(batch))
    this.delivered(batch)
    return result
  }

  /** Whoever calls `forward` says when its result comes: swapped blocks are in host memory then, and not before. */
  delivered ({ step }: ForwardBatch): void {
    for (const [slot, filledBy] of this.#unfilled) if (filledBy === step) this.#unfilled.delete(slot)
  }

  /** Executes a step, as the device does in order of submission. */
  forward (batch: ForwardBatch): StepResult {
    assert.equal(batch.step, this.#numSteps++, 'steps are numbered in order')
    this.#checkLimits(batch)
    this.#checkBlocks(batch)
    this.#checkSwaps(batch)
    const { swapOuts = [], swapIns = [] } = batch
    this.#memory.swapOut(swapOuts)
    this.#memory.swapIn(swapIns)
    this.#memory.move(batch.moves)
    const sampled: SampledToken[] = []
    const scored = new Map<SequenceId, readonly ScoredToken[]>()
    for (const sequence of batch.sequences) {
      const row = this.#rowOf(sequence)
      const computed = sequence.tokens ?? [lastTokenOf(row, sequence)]
      const { id, blockTable, startPosition } = sequence
      for (const [i, token] of computed.entries()) this.#memory.write(blockTable, startPosition + i, token)
      const tokens = this.#memory.read(blockTable, startPosition + computed.length)
      this.#checkTokens(id, tokens)
      row.nextPosition = tokens.length
      if (sequence.scoreTargets !== undefined) scored.set(id, this.#score(sequence, tokens))
      if (sequence.sampling !== undefined) sampled.push({ id, ...this.#sample(sequence, row, tokens) })
    }
    const numTokens = batch.sequences.reduce((sum, sequence) => sum + numTokensOf(sequence), 0)
    const swapSeconds = (swapOuts.length + swapIns.length) * this.blockSeconds
    return { sampled, scored, deviceSeconds: numTokens * this.tokenSeconds, hostSeconds: 0, ...swapSeconds > 0 && { swapSeconds } }
  }

  async [Symbol.asyncDispose] (): Promise<void> {}

  #checkLimits ({ sequences, swapOuts = [], swapIns = [] }: ForwardBatch): void {
    const { maxBatchedTokens, maxSequences, maxLogitRows, maxModelLen } = this.limits
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
    assert.ok(sequences.length + swapOuts.length + swapIns.length > 0, 'an empty step')
    assert.ok(sequences.length <= maxSequences, 'too many sequences')
    assert.ok(sum(sequences.map(numTokensOf)) <= maxBatchedTokens, 'too many tokens')
    const logitRows = sequences.map(({ sampling, scoreTargets }) => (sampling === undefined ? 0 : 1) + (scoreTargets?.length ?? 0))
    assert.ok(sum(logitRows) <= maxLogitRows, 'too many logit rows')
    assert.equal(new Set(sequences.map(({ id }) => id)).size, sequences.length, 'a sequence twice in a step')
    assert.equal(new Set(sequences.map(({ stateRow }) => stateRow)).size, sequences.length, 'a state row twice in a step')
    for (const sequence of sequences) {
      assert.ok(sequence.stateRow >= 0 && sequence.stateRow < maxSequences, `no state row ${sequence.stateRow}`)
      assert.ok(numTokensOf(sequence) > 0, 'a sequence without tokens')
      assert.ok(sequence.startPosition + numTokensOf(sequence) <= maxModelLen, 'a sequence longer than the context')
      assert.equal(sequence.numScoreLogprobs === undefined, sequence.scoreTargets === undefined, 'score count and targets belong together')
    }
  }

  /** A step's sequences run side by side: what one writes no other may read or write. */
  #checkBlocks ({ sequences, moves }: ForwardBatch): void {
    const { blockSize, numKVBlocks } = this.limits
    const writers = new Map<number, SequenceId>()
    const blocksOf = ({ blockTable }: ForwardSequence, from: number, to: number): readonly number[] =>
      blockTable.slice(Math.floor(from / blockSize), Math.ceil(to / blockSize))
    for (const sequence of sequences) {
      const end = sequence.startPosition + numTokensOf(sequence)
      assert.ok(sequence.blockTable.length * blockSize >= end, 'block table does not cover the tokens')
      assert.equal(new Set(sequence.blockTable).size, sequence.blockTable.length, 'a block twice in a table')
      assert.ok(sequence.blockTable.every(block => block >= 0 && block < numKVBlocks), 'no such block')
      for (const block of blocksOf(sequence, sequence.startPosition, end)) {
        assert.ok(!writers.has(block), `block ${block} written by ${writers.get(block)} and ${sequence.id}`)
        writers.set(block, sequence.id)
      }
    }
    for (const sequence of sequences) {
      for (const block of blocksOf(sequence, 0, sequence.startPosition)) {
        assert.equal(writers.get(block) ?? sequence.id, sequence.id, `block ${block} read in the step that writes it`)
      }
    }
    const tables = new Set(sequences.flatMap(({ blockTable }) => blockTable))
    for (const { to } of moves) assert.ok(tables.has(to), `block ${to} is copied for nobody`)
  }

  #checkSwaps ({ step, swapOuts = [], swapIns = [] }: ForwardBatch): void {
    const { numKVBlocks } = this.limits
    const { numSlots, groupSize } = this.hostTier ?? { numSlots: 0, groupSize: 1 }
    const groupOf = (slot: HostSlot): number => Math.floor(slot / groupSize)
    const unfilledGroups = new Set([...this.#unfilled.keys()].map(groupOf))
    const groupsRead = new Set(swapIns.map(({ slot }) => groupOf(slot)))
    const swaps = [...swapOuts, ...swapIns]
    for (const { block, slot } of swaps) {
      assert.ok(block >= 0 && block < numKVBlocks, 'no such block')
      assert.ok(slot >= 0 && slot < numSlots, 'no such slot')
      assert.ok(!unfilledGroups.has(groupOf(slot)), `slot ${slot} is still being written`)
    }
    assert.equal(new Set(swaps.map(({ slot }) => slot)).size, swaps.length, 'a slot twice in a step')
    assert.equal(new Set(swapIns.map(({ block }) => block)).size, swapIns.length, 'a block swapped in twice')
    for (const { slot } of swapOuts) {
      assert.ok(!groupsRead.has(groupOf(slot)), `slot ${slot} is read in the step that writes it`)
      this.#unfilled.set(slot, step)
    }
  }

  #rowOf (sequence: ForwardSequence): StateRow {
    const { id, stateRow, startPosition, history } = sequence
    const known = this.#rows.get(stateRow)
    if (known?.owner === id && known.nextPosition === startPosition) {
      if (history !== undefined) known.history = copyOf(history)
      return known
    }
    // (Re)admitted: nothing of the row's state may be relied upon.
    assert.ok(sequence.tokens !== undefined, `${id} continues a row it does not own`)
    const row: StateRow = { owner: id, nextPosition: startPosition, lastToken: undefined, history: history && copyOf(history) }
    this.#rows.set(stateRow, row)
    return row
  }

  #checkTokens (id: SequenceId, tokens: readonly TokenId[]): void {
    const expected = this.#expected.get(id) ?? []
    const length = Math.min(tokens.length, expected.length)
    assert.deepEqual(tokens.slice(0, length), expected.slice(0, length), `${id} reads tokens that are not its own`)
  }

  #score ({ startPosition, scoreTargets = [], numScoreLogprobs = 0 }: ForwardSequence, tokens: readonly TokenId[]): ScoredToken[] {
    return scoreTargets.map((target, i) => scoredToken(this.limits, tokens.slice(0, startPosition + i + 1), target, numScoreLogprobs))
  }

  #sample ({ id, sampling }: ForwardSequence, row: StateRow, tokens: readonly TokenId[]): Omit<SampledToken, 'id'> {
    assert.ok(sampling !== undefined)
    if (carriesPenalty(sampling)) {
      const { promptTokens = [], outputTokens = [] } = row.history ?? {}
      assert.deepEqual([...promptTokens, ...outputTokens], tokens, `${id} counts tokens that are not its own`)
    }
    const sampled = sampledToken(this.limits, tokens, sampling, row.history)
    row.lastToken = sampled.token
    row.history?.outputTokens.push(sampled.token)
    const expected = this.#expected.get(id)
    if (expected?.length === tokens.length) expected.push(sampled.token)
    return sampled
  }
}

const numTokensOf = ({ tokens }: ForwardSequence): number => tokens?.length ?? 1

const copyOf = ({ promptTokens, outputTokens }: TokenHistory): NonNullable<StateRow['history']> =>
  ({ promptTokens, outputTokens: [...outputTokens] })

function lastTokenOf ({ lastToken }: StateRow, { id }: ForwardSequence): TokenId {
  assert.ok(lastToken !== undefined, `${id} decodes a token its row does not hold`)
  return lastToken
}
